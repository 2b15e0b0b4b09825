"""A disk that does not answer: who waits for it is named, and the run ends instead of waiting for ever."""

import os
import signal

import psutil
import pytest
from shared import tiny_arguments
from test_supervision import LONG, is_training, left_over, start, status_of, wait_until


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 1])
def test_a_rank_that_is_stuck_in_a_read_is_named_and_the_run_ends(workers, image_folder, tmp_path):
    """A pipe that nobody writes to in the place of an image: opening it waits, as for a network disk that is gone."""
    settings = {**LONG, "total_train_batch_size": 8, "watchdog_minutes": 0.1, "dataloader_num_workers": workers}
    run = tmp_path / "run"
    process = start(["train.py", *tiny_arguments(image_folder, run, **settings)], "torchrun, two ranks")
    try:
        wait_until(lambda: is_training(run), 400)
        path = image_folder / "train" / "ant" / "0.jpg"
        path.unlink()
        os.mkfifo(path)
        output = "".join(process.communicate(timeout=300))
    finally:
        for left in left_over(run):
            left.send_signal(signal.SIGKILL)
        process.kill()
    assert process.returncode == 1
    reason = status_of(run)["reason"]
    assert status_of(run)["status"] == "failed"
    assert "hangs after" in reason or "wait for each other" in reason
    assert "watchdog_minutes" in reason
    assert reason.split(": ", 1)[1] in output
    assert not [p for p in left_over(run) if p.status() != psutil.STATUS_ZOMBIE]
