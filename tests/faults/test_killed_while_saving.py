"""SIGKILL while a checkpoint is being written, again and again: none is lost, and the run ends as if undisturbed."""

import importlib.util
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from conftest import PROJECT, tiny_arguments
from test_resuming import outcome

from modeling_resnet50.training.run_folder import RunFolder
from resnet50_recipe.training_arguments import TrainingArguments


SETTINGS = {"total_train_batch_size": 4, "checkpoint_every_steps": 1, "checkpoint_every_epochs": 1, "keep_last": 2,
            "ema_decay": 0.5, "mixup_alpha": 0.2}  # fmt: skip


def preloaded_forkserver() -> multiprocessing.context.ForkServerContext:
    """For processes that have imported what takes long, and nothing else of this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["modeling_resnet50.data.pipeline", "modeling_resnet50.training.supervision",
         "modeling_resnet50.hub.publishing", "timm"]
    )  # fmt: skip
    return context


def run_train_py(arguments: list[str]) -> None:
    """For a process of its own."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    spec = importlib.util.spec_from_file_location("train_script", PROJECT / "train.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    sys.argv = ["train.py", *arguments]
    script.main()


def newest_step(run: Path) -> int:
    newest, _ = RunFolder(TrainingArguments(output_dir=str(run))).newest_whole_checkpoint()
    return -1 if newest is None else json.loads((newest / "manifest.json").read_text())["step"]


def saving(run: Path) -> list[Path]:
    return list(run.glob("checkpoints/.epoch-*.unfinished"))


def kill_while_saving(process: multiprocessing.Process, run: Path, rng: random.Random) -> bool:
    """Whether the kill landed while one of the next checkpoints was being written."""
    for _ in range(rng.randint(1, 4)):
        while not saving(run) and process.is_alive():
            time.sleep(0.0002)
        last = saving(run)
        while saving(run) == last and process.is_alive() and rng.random() < 0.98:
            time.sleep(0.0002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return bool(saving(run))


@pytest.mark.parametrize(
    ("kills", "epochs"), [(5, 10), pytest.param(200, 200, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_no_checkpoint_is_lost_and_the_run_ends_as_if_undisturbed(kills, epochs, image_folder, tmp_path, train):
    run, rng, landed = tmp_path / "run", random.Random(0), 0
    settings = {**SETTINGS, "num_train_epochs": epochs}
    arguments = tiny_arguments(image_folder, run, **settings, resume_from_checkpoint="auto")
    context = preloaded_forkserver()
    stands = -1
    while landed < kills:
        process = context.Process(target=run_train_py, args=(arguments,))
        process.start()
        landed += kill_while_saving(process, run, rng)
        assert process.exitcode == -signal.SIGKILL, f"the run was over after {landed} kills"
        assert newest_step(run) >= stands
        stands = newest_step(run)
    train(arguments)
    train(tiny_arguments(image_folder, tmp_path / "undisturbed", **settings))
    assert outcome(run) == outcome(tmp_path / "undisturbed")
