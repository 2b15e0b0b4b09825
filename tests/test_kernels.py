"""Compiled training: the same names, the same weights within rounding, and no more compiling than there are sizes."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from shared import run_ranks, tiny_arguments
from torch._dynamo.utils import counters

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.training import kernels
from modeling_resnet50.training.losses import Criterion
from resnet50_recipe.errors import UserError
from resnet50_recipe.training_arguments import TrainingArguments


SMALL = {"layer_type": "basic", "depths": [1], "hidden_sizes": [8], "embedding_size": 8}  # each block is traced again
SHORT = {"num_train_epochs": 1, "warmup_epochs": 0, "config_overrides": json.dumps(SMALL)}


@pytest.fixture(autouse=True)
def _switches_as_before():
    """They are the whole process's."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = torch.backends.cudnn.deterministic = False


@pytest.fixture
def dynamo(monkeypatch):
    """The launcher asks for a compiler that is quick: it traces, and runs the graph as it is."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "EAGER")


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_autotuning_is_on_unless_all_is_to_be_deterministic():
    for recipe, benchmark, deterministic in (
        (TrainingArguments(), True, False),
        (TrainingArguments(cudnn_benchmark=False), False, False),
        (TrainingArguments(full_determinism=True), False, True),
    ):
        kernels.choose_algorithms(recipe)
        assert torch.backends.cudnn.benchmark == benchmark
        assert torch.backends.cudnn.deterministic == deterministic
        assert torch.are_deterministic_algorithms_enabled() == deterministic
    with pytest.raises(UserError, match="picks algorithms by the clock"):
        TrainingArguments(full_determinism=True, cudnn_benchmark=True)


def test_every_size_is_compiled_once_however_many_there_are(dynamo):
    """Dynamo's own limit is eight. What is evaluated compiles nothing, however ragged."""
    recipe = TrainingArguments(image_size=288, image_size_start=32, image_size_ramp=[0, 9], num_train_epochs=10)
    model = ResNet50ForImageClassification(ResNet50Config(**SMALL, num_labels=3))
    forward = kernels.compiled_for_training(model, Criterion(recipe), recipe)
    sizes = [32 * n for n in range(1, 10)]
    compiled = []
    for size in [*sizes, *sizes]:
        assert forward(torch.randn(2, 3, size, size)).logits.shape == (2, 3)
        compiled.append(counters["stats"]["unique_graphs"])
    assert compiled == [*range(1, 10), *[9] * 9]
    model.eval()
    with torch.no_grad():
        for batch in (5, 3, 1):
            model(torch.randn(batch, 3, 48, 48))
    assert counters["stats"]["unique_graphs"] == 9
    assert not counters["graph_break"]


def test_compiling_changes_neither_names_nor_weights_and_may_begin_or_end_in_mid_run(
    image_folder, tmp_path, train, monkeypatch, capsys
):
    fields = {"ema_decay": 0.9, "label_smoothing_factor": 0.1, "gradient_accumulation_steps": 2}

    def go_on(run, form, **more):
        torch._dynamo.reset()
        counters.clear()
        if form == "compiled":
            monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "EAGER")
        else:
            monkeypatch.delenv("ACCELERATE_DYNAMO_BACKEND", raising=False)
        train(tiny_arguments(image_folder, run, **{**SHORT, **fields, **more}))
        assert bool(counters["stats"]["unique_graphs"]) == (form == "compiled")

    halves = {}
    for first in ("eager", "compiled"):
        go_on(tmp_path / first, first)
        for second in ("eager", "compiled") if first == "eager" else ("eager",):
            run = halves[first, second] = tmp_path / f"{first}-{second}"
            shutil.copytree(tmp_path / first, run)
            again = {"resume_from_checkpoint": "latest", "allow_recipe_change": "true"}
            go_on(run, second, num_train_epochs=2, **again)
    reference = weights(halves["eager", "eager"] / "final")
    for run in halves.values():
        for folder in ("final", "final_average"):
            assert weights(run / folder).keys() == reference.keys()
        for name, value in weights(run / "final").items():
            torch.testing.assert_close(value, reference[name], rtol=1e-4, atol=1e-5)
    assert (
        "OptimizedModule"
        not in capsys.readouterr().out + (halves["eager", "compiled"] / "final/README.md").read_text()
    )


def test_two_compiled_ranks_that_accumulate_end_with_the_weights_of_one_process(image_folder, tmp_path, train):
    """DDP is still there, and its `no_sync`: half of the passes send no gradients."""
    train(tiny_arguments(image_folder, tmp_path / "one", **SHORT, gradient_accumulation_steps=4))
    arguments = tiny_arguments(image_folder, tmp_path / "two", **SHORT, gradient_accumulation_steps=2)
    result = run_ranks(["train.py", *arguments], ACCELERATE_DYNAMO_BACKEND="EAGER")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "2 processes on cpu" in result.stdout
    one, two = (weights(tmp_path / run / "final") for run in ("one", "two"))
    for name, value in one.items():
        if "running" not in name and "tracked" not in name:  # BatchNorm's own of each process
            torch.testing.assert_close(value, two[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("by", ["recipe", "launcher"])
def test_compiling_and_checkpointing_of_activations_are_refused_together(by, monkeypatch):
    if by == "launcher":
        monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    recipe = TrainingArguments(torch_compile=by == "recipe", gradient_checkpointing=True)
    with pytest.raises(UserError, match="leave one of them out"):
        kernels.choose_algorithms(recipe)
