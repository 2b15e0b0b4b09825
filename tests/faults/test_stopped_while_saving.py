"""SIGTERM while a model or a checkpoint is saved, and when a run is about to end: it stays the run it was."""

import json
import os
import signal

import pytest
from shared import tiny_arguments
from test_resuming import outcome

from modeling_resnet50.loop import saving
from modeling_resnet50.training.checkpoint import CheckpointWriter
from modeling_resnet50.training.console import TrainingConsole
from modeling_resnet50.training.run_folder import RunFolder
from modeling_resnet50.training.supervision import TrainingStopped


SETTINGS = {"total_train_batch_size": 4, "ema_decay": 0.5, "num_train_epochs": 3, "checkpoint_every_epochs": 1}


def stop_at_call(monkeypatch, owner, name: str, number: int) -> list[int]:
    """Let this process signal itself within a call of a function. Returns the number of calls, in a list."""
    original, calls = getattr(owner, name), [0]

    def called(*arguments, **named):
        calls[0] += 1
        if calls[0] == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, called)
    return calls


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("best", 1),
        pytest.param("best", 2, marks=pytest.mark.long),
        pytest.param("checkpoint", 1, marks=pytest.mark.long),
        ("checkpoint", 2),
        pytest.param("checkpoint", 3, marks=pytest.mark.long),
        pytest.param("metrics", 1, marks=pytest.mark.long),
        ("metrics", 3),
        pytest.param("end", 1, marks=pytest.mark.long),
    ],
)
def test_it_ends_as_if_undisturbed(where, call, trained, image_folder, tmp_path, train, monkeypatch):
    undisturbed = trained(**SETTINGS)
    owner, name = {
        "best": (saving, "save_model"),
        "checkpoint": (CheckpointWriter, "save"),
        "metrics": (RunFolder, "log"),
        "end": (TrainingConsole, "finish"),
    }[where]
    calls = stop_at_call(monkeypatch, owner, name, call)
    run = tmp_path / "run"
    try:
        train(tiny_arguments(image_folder, run, **SETTINGS))
        stopped = False
    except TrainingStopped:
        stopped = True
    assert calls[0] >= call
    status = json.loads((run / "status.json").read_text())
    assert status["status"] == ("stopped" if stopped else "finished")
    monkeypatch.undo()
    if stopped:
        train(tiny_arguments(image_folder, run, **SETTINGS, resume_from_checkpoint="auto"))
    assert outcome(run) == outcome(undisturbed)
    assert not (run / "lock.json").exists()
    assert not list(run.glob("set_aside-*"))  # nothing was done twice
