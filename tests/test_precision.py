"""`auto` takes what the machine is fast in, and a slow choice is said to be one."""

import platform
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DynamoBackend
from test_model_card import DIGITS, RECIPE, code_of, history, model_card, of_epoch, session, tiny_model

from modeling_resnet50.commands.evaluate import _accelerator
from modeling_resnet50.training.distributed import create_accelerator
from modeling_resnet50.training.precision import cpu_has_bf16, precision_here
from resnet50_cli import main
from resnet50_recipe.errors import UserError
from resnet50_recipe.training_arguments import TrainingArguments


@pytest.fixture
def cpu(monkeypatch):
    """A processor with these instructions, as Accelerate's only device."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

    def arrange(*instructions):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))

    return arrange


@pytest.mark.skipif(
    not Path("/proc/cpuinfo").exists() or platform.machine() != "x86_64",
    reason="where Linux lists what a processor has",
)
def test_pytorch_and_linux_agree_on_the_instructions():
    flags = re.search(r"^flags.*$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[0].split()
    assert cpu_has_bf16() == bool({"avx512_bf16", "amx_bf16"} & set(flags))


@pytest.mark.parametrize(
    ("instructions", "precision"),
    [
        (("avx2",), "no"),
        (("avx2", "avx512_f", "avx512_vnni"), "no"),
        (("avx512_f", "avx512_bf16"), "bf16"),
        (("amx_bf16",), "bf16"),
        (("neon",), "no"),
        (("neon", "bf16"), "bf16"),
    ],
)
def test_auto_is_bf16_where_the_processor_has_it(cpu, capsys, tmp_path, instructions, precision):
    cpu(*instructions)
    accelerator = create_accelerator(TrainingArguments(mixed_precision="auto", output_dir=str(tmp_path)))
    assert accelerator.mixed_precision == precision
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("compiled", "has_bf16", "precision"), [(True, True, "bf16"), (True, False, "fp16"), (False, True, "fp16")]
)
def test_auto_on_a_gpu_is_bf16_where_it_is_compiled_and_not_emulated(monkeypatch, compiled, has_bf16, precision):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or has_bf16)
    assert precision_here("auto", compiled) == precision


@pytest.mark.parametrize("asked", ["recipe", "accelerate's configuration"])
def test_bf16_that_is_slow_is_said_to_be(cpu, capsys, tmp_path, monkeypatch, asked):
    if asked != "recipe":
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    recipe = TrainingArguments(mixed_precision="bf16" if asked == "recipe" else None, output_dir=str(tmp_path))
    cpu("avx2", "avx512_f")
    assert create_accelerator(recipe).mixed_precision == "bf16"
    assert "no instructions for bf16" in (said := capsys.readouterr().err)
    assert "9 to 14 times as slow as in float32" in said
    cpu("avx2", "avx512_bf16")
    create_accelerator(recipe)
    assert capsys.readouterr().err == ""


def test_where_fp16_is_impossible_auto_is_proposed(cpu, tmp_path):
    cpu("avx2")
    with pytest.raises(UserError, match="fp16 needs a GPU: use --mixed_precision auto"):
        create_accelerator(TrainingArguments(mixed_precision="fp16", output_dir=str(tmp_path)))


def test_evaluate_says_and_chooses_the_same(cpu, capsys, tmp_path):
    tiny_model(DIGITS).save_pretrained(tmp_path)
    cpu("avx2")
    for precision, said in (("bf16", True), ("auto", False)):
        with pytest.raises(SystemExit):  # it has no image processor
            main(["evaluate", str(tmp_path), "--dataset", "digits", "--mixed_precision", precision])
        assert ("no instructions for bf16" in capsys.readouterr().err) == said


def test_the_command_on_a_card_has_the_precision_that_auto_was():
    recipe = TrainingArguments(**{**vars(RECIPE), "mixed_precision": "auto"})
    card = model_card(tiny_model(DIGITS), of_epoch(1, recipe, history(0.5), [session(mixed_precision="bf16")]))
    assert code_of(card)["To train it again"][0].strip().endswith("--mixed_precision bf16")


def test_the_launchers_compiler_which_would_allow_tf32_changes_no_evaluation(cpu, monkeypatch):
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = _accelerator(SimpleNamespace(mixed_precision="no", torch_compile=False))
    assert accelerator.state.dynamo_plugin.backend == DynamoBackend.NO
    AcceleratorState._reset_state(reset_partial_state=True)
