"""A run that was stopped anywhere and resumed is the run that was never stopped, bit for bit."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from shared import TINY, tiny_arguments, write_shards
from test_training import CLOCKED, run_two_ranks

from resnet50_recipe.cores import available_cores
from resnet50_recipe.errors import UserError


EVERYTHING = {
    "num_train_epochs": 3, "checkpoint_every_epochs": 1, "total_train_batch_size": 4,
    "gradient_accumulation_steps": 2, "mixup_alpha": 0.4, "cutmix_alpha": 1.0, "ema_decay": 0.7, "optim": "lamb",
    "auto_augment": "randaugment", "random_erasing": 0.5, "color_jitter": 0.4, "train_interpolation": "random",
    "image_size_start": 16, "image_size_ramp": ["1", "2"], "image_size": 32, "max_grad_norm": 1.0,
    "config_overrides": json.dumps({"depths": [1, 1], "hidden_sizes": [8, 16], "embedding_size": 8,
                                    "drop_path_rate": 0.3}),
}  # fmt: skip


def outcome(run: Path) -> dict:
    """What a run leaves behind and does not depend on the clock, byte by byte; of checkpoints, those after epochs."""
    files = {}
    for path in sorted(run.rglob("*")):
        folders = path.relative_to(run).parts
        if "-batch-" in path.parent.name or folders[0] == "hub" or any(f.startswith("set_aside") for f in folders):
            continue
        if path.suffix == ".safetensors" or path.name == "optimizer.pt":
            files[str(path.relative_to(run))] = path.read_bytes()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return files | {"metrics": [{k: v for k, v in row.items() if k not in CLOCKED} for row in rows]}


def stopped_at(checkpoint: Path, to: Path) -> Path:
    """A run folder as it was when that checkpoint had just been written."""
    run = checkpoint.parents[1]
    shutil.copytree(run, to)
    epoch = int(checkpoint.name.split("-")[1])
    for path in (to / "checkpoints").iterdir():
        if path.name > checkpoint.name and path.name != checkpoint.name:
            shutil.rmtree(path)
    for name in ("final", "final_average"):
        shutil.rmtree(to / name, ignore_errors=True)
    lines = (to / "metrics.jsonl").read_text().splitlines(keepends=True)
    (to / "metrics.jsonl").write_text("".join(lines[:epoch]))
    return to


EVERYWHERE = range(3 * 3 - 1)


@pytest.mark.parametrize(
    ("fields", "points"),
    [
        ({}, (2, 6)),
        ({"dataloader_num_workers": 2}, (4,)),
        ({"mixed_precision": "bf16"}, (3,)),
        ({"ema_decay": None, "swa_start_epoch": 2, "batch_norm_recalibration_steps": 2}, (7,)),
        ({"optim": "sgd", "optim_args": json.dumps({"fused": True})}, (4,)),
        ({"streaming": True, "shuffle_buffer": 6, "dataloader_num_workers": 2}, (4,)),
        *(pytest.param({"dataloader_num_workers": workers}, EVERYWHERE, marks=pytest.mark.long) for workers in (0, 2)),
    ],
    ids=[
        "everything",
        "two workers",
        "bf16",
        "swa",
        "fused",  # which reads momentum, weights and gradients in the order of their memory
        "streaming, two workers",
        "everywhere",
        "everywhere, two workers",
    ],
)
def test_stopped_after_any_step_and_resumed(fields, points, image_folder, tmp_path, train):
    """`points` count checkpoints: of 12 images in steps of 4, three an epoch, the third at its end."""
    for split in ("train", "val"):
        for path in (image_folder / split).glob("*/[4-9].jpg"):
            path.unlink()
    source = write_shards(image_folder, tmp_path / "shards") if fields.get("streaming") else image_folder
    settings = {name: value for name, value in {**EVERYTHING, **fields}.items() if value is not None}
    precision = settings.pop("mixed_precision", "no")
    runs = [tmp_path / "whole", tmp_path / "control"]
    every_step = {"checkpoint_every_steps": 1}
    for run, more in zip(runs, (every_step, {}) if not fields else (every_step,)):
        train([*tiny_arguments(source, run, **settings, **more), "--mixed_precision", precision])
    expected = outcome(runs[0])
    if not fields:
        assert outcome(runs[1]) == expected
    checkpoints = sorted((runs[0] / "checkpoints").iterdir())
    assert len(checkpoints) == 3 * 3
    for checkpoint in [checkpoints[point] for point in points]:
        resumed = stopped_at(checkpoint, tmp_path / f"resumed-{checkpoint.name}")
        arguments = tiny_arguments(source, resumed, **settings, resume_from_checkpoint="latest")
        train([*arguments, "--mixed_precision", precision])
        assert outcome(resumed) == expected, checkpoint.name
        shutil.rmtree(resumed)


def test_two_ranks_stopped_within_an_epoch(image_folder, tmp_path):
    settings = {**EVERYTHING, "num_train_epochs": 2, "image_size_ramp": ["1", "1"], "total_train_batch_size": 8}
    run_two_ranks(tiny_arguments(image_folder, tmp_path / "whole", **settings, checkpoint_every_steps=1))
    checkpoint = tmp_path / "whole" / "checkpoints" / "epoch-0001-batch-000002"
    assert len(torch.load(checkpoint / "random_states.pt", weights_only=True)) == 2
    assert len(json.loads((checkpoint / "state.json").read_text())["metrics"]) == 2
    (session,) = json.loads((tmp_path / "whole" / "environment.json").read_text())
    assert (session["num_processes"], list(session["devices"].values()), session["num_machines"]) == (2, [2], 1)
    assert session["cpu_cores"] == available_cores()  # of the machine, not of each process
    resumed = stopped_at(checkpoint, tmp_path / "resumed")
    result = run_two_ranks(tiny_arguments(image_folder, resumed, **settings, resume_from_checkpoint="latest"))
    assert "1 epochs, 16 images of the next, 5 steps done" in result.stdout
    assert outcome(resumed) == outcome(tmp_path / "whole")


def test_resumed_by_two_ranks_what_one_began(image_folder, tmp_path, train):
    """The same images, steps and learning rates; with frozen BatchNorm the mathematics is the same as well."""
    settings = {"num_train_epochs": 2, "total_train_batch_size": 8, "ema_decay": 0.5, "freeze_batch_norm": True}
    whole = tmp_path / "whole"
    train(tiny_arguments(image_folder, whole, **settings, checkpoint_every_steps=1, checkpoint_every_epochs=1))
    resumed = stopped_at(whole / "checkpoints" / "epoch-0001-batch-000001", tmp_path / "resumed")
    result = run_two_ranks(tiny_arguments(image_folder, resumed, **settings, resume_from_checkpoint="latest"))
    assert "now 2 processes instead of 1; images, steps and learning rates stay the same" in result.stdout
    rows = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-1] for run in (whole, resumed)
    ]
    for name in ("step", "learning_rate"):
        assert rows[0][name] == rows[1][name]
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-5)
    weights = [load_file(run / "final" / "model.safetensors") for run in (whole, resumed)]
    for name in weights[0]:
        torch.testing.assert_close(weights[1][name], weights[0][name], rtol=1e-4, atol=1e-6, msg=name)


def test_checkpoints_within_an_epoch_are_named_by_their_place_and_old_ones_go(image_folder, tmp_path, train):
    settings = {"total_train_batch_size": 4, "num_train_epochs": 2, "checkpoint_every_epochs": 1}
    train(tiny_arguments(image_folder, tmp_path / "all", **settings, checkpoint_every_steps=4))
    assert sorted(path.name for path in (tmp_path / "all" / "checkpoints").iterdir()) == [
        "epoch-0000-batch-000004", "epoch-0001", "epoch-0001-batch-000002", "epoch-0002",
    ]  # fmt: skip
    train(tiny_arguments(image_folder, tmp_path / "few", **settings, checkpoint_every_steps=1, keep_last=1,
                         keep_every_epochs=1))  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "few" / "checkpoints").iterdir()) == ["epoch-0001", "epoch-0002"]


@pytest.mark.parametrize(
    ("fields", "other"),
    [
        ({"config_overrides": json.dumps({**TINY, "depths": [1, 2]})}, "network"),
        ({"optim": "adamw"}, "optimizer, sgd,"),
        ({"weight_decay_on": "all_but_norm"}, "set of parameters that learn"),
    ],
)
def test_a_changed_recipe_that_a_checkpoint_cannot_serve_is_refused_in_a_line(fields, other, trained, tmp_path, train):
    run = shutil.copytree(trained(), tmp_path / "run")
    checkpoint = max((run / "checkpoints").iterdir())
    saved = yaml.safe_load((checkpoint / "recipe.yaml").read_text())
    settings = {"resume_from_checkpoint": checkpoint, "allow_recipe_change": True, "num_train_epochs": 3, **fields}
    with pytest.raises(UserError, match=f"cannot go on under this recipe: its {other} is another") as error:
        train(tiny_arguments(saved["dataset_name"], run, **settings))
    assert f"--model_name_or_path {checkpoint / 'model.safetensors'}" in str(error.value)
