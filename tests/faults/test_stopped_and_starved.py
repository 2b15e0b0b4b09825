"""SIGTERM at random moments, worker processes that are killed, clocks that jump: the run stays the run it was."""

import itertools
import json
import os
import random
import signal
import time

import pytest
from shared import tiny_arguments
from test_killed_while_saving import newest_step, start
from test_resuming import outcome

from modeling_resnet50.data.loader import ImageBatches
from modeling_resnet50.training.supervision import Supervisor


SETTINGS = {"total_train_batch_size": 4, "ema_decay": 0.5, "mixup_alpha": 0.2, "keep_last": 2}
SHORT = {**SETTINGS, "num_train_epochs": 3, "checkpoint_every_epochs": 1}


@pytest.mark.parametrize(
    ("signals", "epochs"), [(2, 8), pytest.param(50, 200, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_stopped_at_random_moments_it_ends_as_if_undisturbed(signals, epochs, image_folder, tmp_path, train):
    run, rng = tmp_path / "run", random.Random(1)
    settings = {**SETTINGS, "num_train_epochs": epochs, "checkpoint_every_epochs": epochs}
    arguments = tiny_arguments(image_folder, run, **settings, resume_from_checkpoint="auto")
    stands = -1
    for _ in range(signals):
        process = start(arguments)
        metrics = run / "metrics.jsonl"
        # One or two validations later, wherever the loop then is
        goal = (len(metrics.read_text().splitlines()) if metrics.exists() else 0) + rng.randint(1, 2)
        while not metrics.exists() or len(metrics.read_text().splitlines()) < goal:
            assert process.poll() is None
            time.sleep(rng.random() / 100)
        process.send_signal(signal.SIGTERM)
        process.wait()
        assert process.returncode == 75
        status = json.loads((run / "status.json").read_text())
        assert (status["status"], status["reason"]) == ("stopped", "SIGTERM")
        assert newest_step(run) == status["step"] > stands  # nothing lost
        stands = status["step"]
    train(arguments)
    train(tiny_arguments(image_folder, tmp_path / "undisturbed", **settings))
    files, undisturbed = outcome(run), outcome(tmp_path / "undisturbed")
    assert files == undisturbed


def test_a_worker_that_is_killed_fails_the_run_by_name_and_it_resumes_exactly(
    trained, image_folder, tmp_path, train, monkeypatch, capsys
):
    undisturbed = trained(**SHORT)
    settings = {**SHORT, "dataloader_num_workers": 1}
    batch_done, load_batch = Supervisor.batch_done, ImageBatches.__getitems__
    memory_runs_out = tmp_path / "memory_runs_out"

    def batch_16_is_done(self):
        batch_done(self)
        if self._batches == 16:
            memory_runs_out.touch()

    def kill_the_worker(self, samples):
        if memory_runs_out.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return load_batch(self, samples)

    run = tmp_path / "run"
    monkeypatch.setattr(Supervisor, "batch_done", batch_16_is_done)
    monkeypatch.setattr(ImageBatches, "__getitems__", kill_the_worker)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        train(tiny_arguments(image_folder, run, **settings))
    status = json.loads((run / "status.json").read_text())
    assert status["status"] == "failed"
    assert "DataLoader worker" in status["reason"]
    monkeypatch.undo()
    train(tiny_arguments(image_folder, run, **settings, resume_from_checkpoint="auto"))
    assert "1 epochs, 6 steps done" in capsys.readouterr().out
    assert outcome(run) == outcome(undisturbed)


def test_a_clock_that_jumps_changes_nothing(trained, image_folder, tmp_path, train, monkeypatch):
    """Years forward and back at every look, and files dated accordingly: what counts is the steps."""
    undisturbed = trained(**SHORT)
    looks = itertools.count()
    monkeypatch.setattr(time, "time", lambda: 1.7e9 + 1e8 * (-1) ** next(looks) * random.Random(0).random())
    run = tmp_path / "run"
    train(tiny_arguments(image_folder, run, **SHORT))
    for age, checkpoint in enumerate(sorted((run / "checkpoints").iterdir())):
        for path in (checkpoint, *checkpoint.iterdir()):
            os.utime(path, (1e9 - 1e6 * age,) * 2)  # the newest is dated as the oldest
    assert newest_step(run) == 18
    train(tiny_arguments(image_folder, run, **SHORT, resume_from_checkpoint="latest"))
    assert outcome(run) == outcome(undisturbed)
