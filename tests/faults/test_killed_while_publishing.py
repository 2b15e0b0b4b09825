"""SIGKILL of training, and of the process that uploads, at random moments: in the end the Hub has what the run has."""

import random
import signal
import time

import psutil
import pytest
from hub_server import HubServer
from shared import tiny_arguments
from test_killed_while_saving import start

from modeling_resnet50.hub import upload
from modeling_resnet50.hub.upload import files_of, read_records, waiting


SETTINGS = {"total_train_batch_size": 4, "checkpoint_every_epochs": 1, "keep_last": 2, "push_to_hub": "true",
            "hub_model_id": "ann/net", "hub_strategy": "all_checkpoints", "hub_final_tag": "v1.0"}  # fmt: skip


def uploaders(run) -> list[psutil.Process]:
    """Those that send this run's queue, and their tries."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if upload.__file__ in words and any(str(run) in word for word in words):
            found.append(process)
    return found


def epochs_done(run) -> int:
    metrics = run / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def kill_uploaders(run) -> int:
    killed = 0
    for process in uploaders(run):
        try:
            process.kill()
            killed += 1
        except psutil.NoSuchProcess:
            continue
    return killed


@pytest.mark.parametrize(
    ("kills", "epochs", "xet"),
    [(2, 7, True), *(pytest.param(30, 100, xet, marks=pytest.mark.long) for xet in (False, True))],
    ids=["short", "long-lfs", "long-xet"],
)
def test_the_repository_ends_equal_to_the_run(kills, epochs, xet, image_folder, tmp_path, train, monkeypatch):
    run, rng, landed = tmp_path / "run", random.Random(2), 0
    settings = {**SETTINGS, "num_train_epochs": epochs}
    arguments = tiny_arguments(image_folder, run, **settings, resume_from_checkpoint="auto")
    with HubServer() as hub:
        for name, value in hub.environment(tmp_path / "home", "hf_ann", xet).items():
            monkeypatch.setenv(name, value)
        while landed < kills:
            process = start(arguments)
            goal = epochs_done(run) + rng.randint(1, 2)
            while process.poll() is None and epochs_done(run) < goal:
                time.sleep(0.02 * rng.random())
            landed += kill_uploaders(run)  # which training starts again
            time.sleep(0.2 * rng.random())
            process.kill()
            landed += 1
            process.wait()
            assert process.returncode == -signal.SIGKILL, f"the run was over after {landed} kills"
            if rng.random() < 0.5:
                landed += kill_uploaders(run)  # otherwise it sends what goes at once, beside the next training
        train(arguments)
        repo = hub.repos["ann/net"]
        assert waiting(run / "hub") == []
        for branch, folder in (("main", run / "best"), ("final", run / "final")):
            assert {**repo.at(branch).files, ".gitattributes": b""} == {
                **{name: path.read_bytes() for name, path in files_of(folder).items()},
                ".gitattributes": b"",
            }
        assert repo.tags == {"v1.0": repo.branches["final"]}
        assert {f"epoch-{epoch:04d}" for epoch in range(1, epochs + 1)} <= set(repo.branches)
        # Nothing twice: no commit leaves its branch as it was.
        for commit in repo.commits:
            assert not commit.parents or commit.files != repo.at(commit.parents[0]).files
        assert read_records(run / "hub")
