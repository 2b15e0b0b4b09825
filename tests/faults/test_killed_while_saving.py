"""SIGKILL while a checkpoint is being written, again and again: none is lost, and the run ends as if undisturbed."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from fork_server import start_python
from shared import PROJECT, UNDRAWN, tiny_arguments
from test_resuming import outcome

from modeling_resnet50.training.run_folder import RunFolder
from resnet50_recipe.training_arguments import TrainingArguments


SETTINGS = {"total_train_batch_size": 4, "checkpoint_every_steps": 1, "checkpoint_every_epochs": 1, "keep_last": 2,
            "ema_decay": 0.5, "mixup_alpha": 0.2}  # fmt: skip


def start(arguments: list[str]):
    return start_python([UNDRAWN, *arguments], {**os.environ}, PROJECT)


def newest_step(run: Path) -> int:
    newest, _ = RunFolder(TrainingArguments(output_dir=str(run))).newest_whole_checkpoint()
    return -1 if newest is None else json.loads((newest / "manifest.json").read_text())["step"]


def saving(run: Path) -> list[Path]:
    return list(run.glob("checkpoints/.epoch-*.unfinished"))


def kill_while_saving(process, run: Path, rng: random.Random) -> bool:
    """Whether the kill landed while one of the next checkpoints was being written."""
    for _ in range(rng.randint(1, 4)):
        while not saving(run) and process.poll() is None:
            time.sleep(0.0002)
        last = saving(run)
        while saving(run) == last and process.poll() is None and rng.random() < 0.98:
            time.sleep(0.0002)
    process.kill()
    process.wait()
    return bool(saving(run))


@pytest.mark.parametrize(
    ("kills", "epochs"), [(2, 5), pytest.param(200, 200, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_no_checkpoint_is_lost_and_the_run_ends_as_if_undisturbed(kills, epochs, image_folder, tmp_path, train):
    run, rng, landed = tmp_path / "run", random.Random(0), 0
    settings = {**SETTINGS, "num_train_epochs": epochs}
    arguments = tiny_arguments(image_folder, run, **settings, resume_from_checkpoint="auto")
    stands = -1
    while landed < kills:
        process = start(arguments)
        landed += kill_while_saving(process, run, rng)
        assert process.returncode == -signal.SIGKILL, f"the run was over after {landed} kills"
        assert newest_step(run) >= stands
        stands = newest_step(run)
    train(arguments)
    train(tiny_arguments(image_folder, tmp_path / "undisturbed", **settings))
    assert outcome(run) == outcome(tmp_path / "undisturbed")
