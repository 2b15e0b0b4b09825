"""A run folder over several starts: nothing is lost, nothing of others is touched, and one line goes on."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file
from shared import tiny_arguments

from modeling_resnet50.files import replaced_file, replaced_folder
from modeling_resnet50.loop import saving
from modeling_resnet50.training import run_lock
from modeling_resnet50.training.checkpoint import CheckpointWriter
from modeling_resnet50.training.manifest import sha256
from modeling_resnet50.training.run_folder import RunFolder
from modeling_resnet50.training.run_lock import RunLock, is_alive, read_holder
from resnet50_recipe.errors import UserError
from resnet50_recipe.training_arguments import TrainingArguments
from resnet50_recipe.weights import Weights


FIELDS = {"num_train_epochs": 3, "checkpoint_every_epochs": 1, "ema_decay": 0.5, "report_to": "tensorboard"}


@pytest.fixture
def kept(trained):
    """A finished run of three epochs, to be read."""
    return trained(**FIELDS)


@pytest.fixture
def run(kept, tmp_path):
    """A copy of it, to be spoilt, and its command line."""
    path = tmp_path / "run"
    shutil.copytree(kept, path)
    return RunFolder(TrainingArguments(output_dir=str(path))), tiny_arguments(kept.parent / "images", path, **FIELDS)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def put_something_of_others_into(folder: RunFolder) -> dict[str, bytes]:
    for name in ("logs/slurm-1.out", "hub/todo.txt", "notes.txt", "set_aside/mine.txt"):
        path = folder.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return {name: content for name, content in snapshot(folder.path).items() if content.decode("latin-1") == name}


# Begun again


def test_a_run_whose_checkpoints_are_gone_is_not_begun_anew_by_auto(run, train):
    folder, arguments = run
    put_something_of_others_into(folder)
    shutil.rmtree(folder.checkpoints)
    before = snapshot(folder.path)
    with pytest.raises(UserError, match=r"has had checkpoints, the last one epoch-0003, and there is none in"):
        train([*arguments, "--resume_from_checkpoint", "auto"])
    assert snapshot(folder.path) == before


def test_auto_before_the_first_checkpoint_begins_anew_and_keeps_what_was_made(run, train, capsys):
    folder, arguments = run
    foreign = put_something_of_others_into(folder)
    shutil.rmtree(folder.checkpoints)
    contents = json.loads(folder.contents_file.read_text())
    del contents["checkpoint"]  # as if it had been killed before that
    folder.contents_file.write_text(json.dumps(contents))
    before = snapshot(folder.path)
    train([*arguments, "--resume_from_checkpoint", "auto"])
    after = snapshot(folder.path)
    assert foreign.items() <= after.items()
    for name in ("best/model.safetensors", "final/model.safetensors", "metrics.jsonl", "environment.json"):
        assert after[f"set_aside-1/{name}"] == before[name]
    assert f"set aside in {folder.logs / 'set_aside-1'}" in capsys.readouterr().out
    assert len(lines(folder.metrics_file)) == 3


def test_overwriting_removes_what_the_run_made_and_nothing_else(run, train):
    folder, arguments = run
    foreign = put_something_of_others_into(folder)
    notes = {"best/mine.txt": b"", "checkpoints/epoch-0002/mine.txt": b"", "checkpoints/mine/mine.txt": b""}
    for name, content in notes.items():
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).write_bytes(content)
    old_logs = set(snapshot(folder.logs))
    train([*arguments, "--overwrite_output_dir", "--num_train_epochs", "1"])
    after = snapshot(folder.path)
    assert foreign.items() <= after.items()
    assert {"set_aside-1/best/mine.txt", "checkpoints/set_aside-1/epoch-0002/mine.txt"} <= set(after)
    assert "checkpoints/mine/mine.txt" in after
    assert [path.name for path in sorted(folder.checkpoints.glob("epoch-*"))] == ["epoch-0001"]
    assert not [name for name in after if "set_aside-" in name and not name.endswith("mine.txt")]
    assert len(set(snapshot(folder.logs)) & old_logs) <= 2  # trackers.json, and what is of others


def test_a_record_that_leads_out_of_the_run_removes_nothing_there(run, train):
    folder, arguments = run
    (folder.path.parent / "precious").touch()
    contents = json.loads(folder.contents_file.read_text())
    contents["models"]["best"]["files"] += ["../../precious", str(folder.path.parent / "precious")]
    folder.contents_file.write_text(json.dumps(contents))
    train([*arguments, "--overwrite_output_dir", "--num_train_epochs", "1"])
    assert (folder.path.parent / "precious").exists()


def test_what_others_put_into_best_is_kept_when_it_is_replaced(tmp_path):
    folder = RunFolder(TrainingArguments(output_dir=str(tmp_path)))
    for epoch in (1, 2, 3):
        with folder.replaced_model(folder.best, Weights(epoch)) as model:
            (model / "model.safetensors").write_text(str(epoch))
        if epoch == 2:
            (folder.best / "mine.txt").write_text("mine")
    assert snapshot(tmp_path / "set_aside-1" / "best") == {"model.safetensors": b"2", "mine.txt": b"mine"}
    assert snapshot(folder.best) == {"model.safetensors": b"3"}


# One line


def test_from_an_older_checkpoint_the_other_line_is_set_aside_and_best_is_judged_anew(
    run, kept, train, monkeypatch, capsys
):
    folder, arguments = run
    old = snapshot(folder.path)
    scores = iter([0.1, 0.1])

    def evaluated(*_, **__):
        value = next(scores, 0.05)
        return {"val_loss": value, "val_top1": value, "val_top5": value}

    contents = json.loads(folder.contents_file.read_text())
    contents["models"]["best"]["epoch"] = 3  # the other line's best came late
    folder.contents_file.write_text(json.dumps(contents))
    monkeypatch.setattr(train.script, "evaluate_model", evaluated)
    train([*arguments, "--resume_from_checkpoint", str(folder.checkpoints / "epoch-0001")])
    assert "from after epoch-0001: epoch-0002, epoch-0003, best, final, final_average" in capsys.readouterr().out
    for name in ("checkpoints/epoch-0002/model.safetensors", "checkpoints/epoch-0003/optimizer.pt"):
        assert snapshot(folder.path)[name.replace("checkpoints/", "checkpoints/set_aside-1/")] == old[name]
    for name in ("best/model.safetensors", "final/model.safetensors", "metrics.jsonl"):
        assert (folder.path / "set_aside-1" / name).read_bytes() == old[name]
    rows = lines(folder.metrics_file)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["val_top1"] for row in rows[1:]] == [0.1, 0.05]
    # The weights of epoch 1 are gone, however good they were: of those that are there, epoch 2's are the best.
    assert folder.best_model(TrainingArguments(output_dir=str(folder.path))) == (0.1, Weights(2))
    assert sha256(folder.best / "model.safetensors") != sha256(
        folder.path / "set_aside-1" / "best" / "model.safetensors"
    )
    weights, saved = (
        load_file(folder.path / name / "model.safetensors") for name in ("best", "checkpoints/epoch-0002")
    )
    assert all(weights[key].equal(saved[key]) for key in weights)
    assert "**10%**" in (folder.best / "README.md").read_text()


def test_best_that_is_not_what_the_run_wrote_is_set_aside(run, train):
    folder, arguments = run
    weights = folder.best / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    changed = weights.read_bytes()
    train([*arguments, "--resume_from_checkpoint", str(folder.checkpoints / "epoch-0002")])
    assert (folder.path / "set_aside-1" / "best" / "model.safetensors").read_bytes() == changed
    assert folder.best_model(TrainingArguments(output_dir=str(folder.path)))[1] == Weights(3)


def test_the_card_of_weights_that_the_run_did_not_write_is_left_alone(image_folder, tmp_path, train, monkeypatch):
    scores = iter([0.9, 0.1, 0.9, 0.1])

    def evaluated(*_, **__):
        value = next(scores)
        return {"val_loss": value, "val_top1": value, "val_top5": value}

    monkeypatch.setattr(train.script, "evaluate_model", evaluated)
    original, kept = RunFolder.log, {}

    def log(self, row):
        original(self, row)
        if row["epoch"] == 2:
            kept[self.path.name] = (self.best / "README.md").read_bytes()
            if self.path.name == "swapped":
                with (self.best / "model.safetensors").open("ab") as file:
                    file.write(b" ")

    monkeypatch.setattr(RunFolder, "log", log)
    for name in ("own", "swapped"):
        train(tiny_arguments(image_folder, tmp_path / name, num_train_epochs=2, checkpoint_every_epochs=1))
    assert (tmp_path / "own" / "best" / "README.md").read_bytes() != kept["own"]
    assert (tmp_path / "swapped" / "best" / "README.md").read_bytes() == kept["swapped"]


def test_best_from_before_the_point_of_return_stays(run):
    folder, _ = run
    contents = json.loads(folder.contents_file.read_text())
    contents["models"]["best"]["epoch"] = 1
    folder.contents_file.write_text(json.dumps(contents))
    before = snapshot(folder.best)["model.safetensors"]
    folder.resume(TrainingArguments(output_dir=str(folder.path)), folder.checkpoints / "epoch-0001", epoch=1)
    assert snapshot(folder.best)["model.safetensors"] == before


def test_from_the_checkpoint_of_another_run_all_of_this_ones_are_set_aside(run, kept, train):
    folder, arguments = run
    train([*arguments, "--resume_from_checkpoint", str(kept / "checkpoints" / "epoch-0002")])
    aside = folder.checkpoints / "set_aside-1"
    assert sorted(path.name for path in aside.iterdir()) == ["epoch-0001", "epoch-0002", "epoch-0003"]
    assert [path.name for path in folder.checkpoints.glob("epoch-*")] == ["epoch-0003"]
    assert [session["first_epoch"] for session in folder.sessions()] == [3]


def test_keep_last_leaves_the_new_line(run, train):
    folder, arguments = run
    older = str(folder.checkpoints / "epoch-0001")
    train([*arguments, "--resume_from_checkpoint", older, "--keep_last", "1"])
    assert [path.name for path in folder.checkpoints.glob("epoch-*")] == ["epoch-0003"]
    assert folder.newest_checkpoint == "epoch-0003"


def test_of_two_checkpoints_in_one_place_the_whole_one_is_kept(run):
    """Killed before the old one was removed, and then the new one was damaged."""
    folder, _ = run
    newest = folder.checkpoints / "epoch-0003"
    shutil.copytree(newest, folder.checkpoints / ".epoch-0003.old")
    (newest / "optimizer.pt").write_bytes(b"damaged")
    whole, _ = folder.newest_whole_checkpoint()
    folder.resume(TrainingArguments(output_dir=str(folder.path)), whole, epoch=3)
    assert folder.newest_whole_checkpoint() == (newest, [])
    assert (folder.checkpoints / "set_aside-1" / "epoch-0003" / "optimizer.pt").read_bytes() == b"damaged"


# Links


@pytest.mark.parametrize("linked", ["run", "checkpoints", "best", "metrics.jsonl"])
def test_links_to_a_larger_disk_are_honoured(linked, image_folder, tmp_path, train):
    run, disk = tmp_path / "run", tmp_path / "disk"
    disk.mkdir()
    place = run if linked == "run" else run / linked
    place.parent.mkdir(exist_ok=True)
    if linked == "metrics.jsonl":
        (disk / linked).touch()
    else:
        (disk / linked).mkdir()
    place.symlink_to(Path("..", "disk", linked) if linked != "run" else disk / linked)
    fields = {"num_train_epochs": 2, "checkpoint_every_epochs": 1, "total_train_batch_size": 24}
    train(tiny_arguments(image_folder, run, **fields, resume_from_checkpoint="auto"))
    older = run / "checkpoints" / "epoch-0001"
    train(tiny_arguments(image_folder, run, **fields, resume_from_checkpoint=older))
    train(tiny_arguments(image_folder, run, **fields, overwrite_output_dir=True))
    assert place.is_symlink()
    assert len(lines(run / "metrics.jsonl")) == 2
    assert (disk / linked).exists()
    assert (run / "best" / "config.json").exists()
    assert len(list((run / "checkpoints").glob("epoch-*"))) == 2


@pytest.mark.parametrize("linked", ["run", "checkpoints"])
def test_a_link_that_leads_nowhere_is_named(linked, image_folder, tmp_path, train):
    place = tmp_path / "run" if linked == "run" else tmp_path / "run" / linked
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(tmp_path / "not mounted")
    with pytest.raises(UserError, match=r"is a link to .*not mounted, which is not there: mount it"):
        train(tiny_arguments(image_folder, tmp_path / "run", resume_from_checkpoint="auto"))


# Power failures


@pytest.mark.parametrize("content", [b"", b'{"half": ', b"\x00" * 512, b"\xff\xfe", b'"of another kind"'], ids=repr)
@pytest.mark.parametrize(
    "name", ["environment.json", "status.json", "contents.json", "logs/trackers.json", "metrics.jsonl"]
)
def test_a_file_that_a_power_failure_left_unreadable_is_set_aside_and_said(name, content, run):
    folder, _ = run
    told = []
    folder.report = told.append
    before = (folder.path / name).read_bytes()
    if name == "metrics.jsonl":
        content = folder.metrics_file.read_bytes() + content
    (folder.path / name).write_bytes(content)
    folder.resume(TrainingArguments(output_dir=str(folder.path)), folder.checkpoints / "epoch-0003", epoch=3)
    aside = (folder.path / name).parent / "set_aside-1" / Path(name).name
    if content == before:
        return  # an empty line is none
    assert aside.read_bytes() == content
    assert Path(name).name in told[0]
    assert len(folder.history()) == 3
    folder.add_session({}, first_epoch=4)


def test_small_files_are_on_the_disk_before_they_are_renamed(tmp_path, monkeypatch):
    calls = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), rename(a, b)))
    with replaced_file(tmp_path / "a.json") as unfinished:
        unfinished.write_text("{}")
    assert calls == [str(tmp_path / ".a.json.unfinished"), "rename", str(tmp_path)]
    calls.clear()
    RunFolder(TrainingArguments(output_dir=str(tmp_path))).log({"epoch": 1})
    assert calls == [str(tmp_path / "metrics.jsonl")]


# A full disk


@pytest.fixture
def full_disk(train, monkeypatch):
    """Let some writes of models fail, by a limit on the size of files, as a quota or a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    original, write_checkpoint = saving.save_model, CheckpointWriter._write
    limit_is_set = threading.Lock()  # for the whole process, and so for the thread that writes checkpoints

    def write_unlimited(*arguments):
        with limit_is_set:
            return write_checkpoint(*arguments)

    monkeypatch.setattr(CheckpointWriter, "_write", write_unlimited)

    def arrange(fails) -> None:
        def limited(folder, *arguments):
            if not fails(folder.name):
                return original(folder, *arguments)
            with limit_is_set:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
                try:
                    return original(folder, *arguments)
                finally:
                    resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        monkeypatch.setattr("modeling_resnet50.training.model_writer.RETRY_AFTER", 0)
        monkeypatch.setattr(saving, "save_model", limited)

    return arrange


def test_a_best_model_that_the_disk_does_not_take_is_kept_and_written_later(
    image_folder, tmp_path, train, full_disk, monkeypatch, capsys
):
    scores, tries = iter([0.9, 0.2, 0.3]), iter([True] * 3)

    def evaluated(*_, **__):
        value = next(scores)
        return {"val_loss": value, "val_top1": value, "val_top5": value}

    monkeypatch.setattr(train.script, "evaluate_model", evaluated)
    full_disk(lambda name: "best" in name and next(tries, False))
    run = tmp_path / "run"
    train(tiny_arguments(image_folder, run, num_train_epochs=3, checkpoint_every_epochs=1))
    out = capsys.readouterr().out
    assert out.count("could not write best/ (") == 1
    assert "what was there before stays, and it is tried again every" in out
    folder = RunFolder(TrainingArguments(output_dir=str(run)))
    assert folder.best_model(TrainingArguments(output_dir=str(run))) == (0.9, Weights(1))
    weights, saved = (load_file(run / name / "model.safetensors") for name in ("best", "checkpoints/epoch-0001"))
    assert all(weights[key].equal(saved[key]) for key in weights)  # not those of the epoch in which it was written


def test_final_weights_that_the_disk_never_takes_are_in_the_last_checkpoint(image_folder, tmp_path, train, full_disk):
    full_disk(lambda name: "final" in name)
    run = tmp_path / "run"
    arguments = tiny_arguments(image_folder, run, num_train_epochs=1, warmup_epochs=0)
    with pytest.raises(UserError, match=r"final could not be written: make room on the disk, then the same command"):
        train(arguments)
    assert json.loads((run / "status.json").read_text())["status"] == "failed"
    full_disk(lambda name: False)
    train([*arguments, "--resume_from_checkpoint", "latest"])
    weights, saved = (load_file(run / name / "model.safetensors") for name in ("final", "checkpoints/epoch-0001"))
    assert all(weights[key].equal(saved[key]) for key in weights)


def test_a_stop_ends_the_wait_for_a_disk_that_does_not_take_the_final_weights(
    image_folder, tmp_path, train, full_disk, monkeypatch
):
    def fails(name: str) -> bool:
        if "final" in name:
            os.kill(os.getpid(), signal.SIGTERM)
        return "final" in name

    full_disk(fails)
    monkeypatch.setattr("modeling_resnet50.training.model_writer.RETRY_AFTER", 3600)
    run = tmp_path / "run"
    with pytest.raises(SystemExit) as stopped:
        train(tiny_arguments(image_folder, run, num_train_epochs=1, warmup_epochs=0))
    assert stopped.value.code == 75
    status = json.loads((run / "status.json").read_text())
    assert (status["status"], status["reason"]) == ("stopped", "SIGTERM")
    assert (run / "checkpoints" / "epoch-0001").is_dir()


def test_metrics_that_the_disk_does_not_take_come_with_the_next_and_no_line_is_half(tmp_path):
    folder = RunFolder(TrainingArguments(output_dir=str(tmp_path)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder.log({"epoch": 1})
    written = folder.metrics_file.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(written) + 5, limits[1]))
    try:
        folder.log({"epoch": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert folder.metrics_file.read_bytes() == written
    assert [row["epoch"] for row in folder.history()] == [1, 2]
    folder.log({"epoch": 3})
    assert [row["epoch"] for row in lines(folder.metrics_file)] == [1, 2, 3]


@pytest.mark.parametrize("taken_by", ["a full disk", "a pipe that nobody reads", "a closed terminal"])
def test_what_a_run_says_to_nobody_is_no_reason_to_end(taken_by, image_folder, tmp_path, train, monkeypatch):
    """`train.py > log` on the disk that is full, `train.py | head`, and a window that is closed."""
    if taken_by == "a full disk":
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, output = os.pipe() if taken_by == "a pipe that nobody reads" else os.openpty()
        os.close(reader)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, os.fdopen(os.dup(output), "w"))
    train(tiny_arguments(image_folder, tmp_path / "run", num_train_epochs=1))
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "finished"
    sys.stdout.write("\n")
    sys.stdout.flush()  # as Python's end does, which would make an exit code of its own


# Two at once


OTHER = {"host": "another", "machine": "another", "pid": 1, "started": 0.0, "token": "a"}


def sleeper() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def test_a_second_start_is_refused_while_the_first_one_lives(image_folder, tmp_path, train, monkeypatch):
    refused = []
    run = tmp_path / "run"
    original = RunFolder.log

    def log(self, row):
        original(self, row)
        with pytest.raises(UserError) as error, RunFolder(TrainingArguments(output_dir=str(run))).held():
            pass
        refused.append(str(error.value))

    monkeypatch.setattr(RunFolder, "log", log)
    train(tiny_arguments(image_folder, run, num_train_epochs=1, warmup_epochs=0))
    assert len(refused) == 1
    assert f"process {os.getpid()} on {os.uname().nodename} trains there already" in refused[0]
    assert not (run / "lock.json").exists()


def test_a_dead_holder_is_seen_through(tmp_path):
    process = sleeper()
    (tmp_path / "recipe.yaml").touch()
    first = RunLock(tmp_path)
    assert first.acquire() is None
    mine = read_holder(first.path)
    first.release()
    theirs = replace(mine, pid=process.pid, started=psutil.Process(process.pid).create_time())
    try:
        first.path.write_text(json.dumps(asdict(theirs)))
        with pytest.raises(UserError, match=f"process {process.pid} on .* trains there already"):
            RunLock(tmp_path).acquire()
        # Its number, given to another process since
        first.path.write_text(json.dumps(asdict(replace(theirs, started=theirs.started - 100))))
        assert not is_alive(first.path)
        first.path.write_text(json.dumps(asdict(theirs)))
        process.send_signal(signal.SIGKILL)
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        third = RunLock(tmp_path)
        assert third.acquire() == f"process {process.pid} on {mine.host} trained here, and is not there any more"
        third.release()
    finally:
        process.kill()
        process.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize("lives", [True, False])
def test_of_another_machine_the_beats_are_watched(lives, tmp_path, monkeypatch):
    """Its clock may be years off."""
    lock = RunLock(tmp_path)
    lock.path.write_text(json.dumps(OTHER))
    os.utime(lock.path, (0, 0))
    moments = iter(range(1000))
    monkeypatch.setattr(run_lock.time, "monotonic", lambda: next(moments))

    def sleep(_):
        if lives:
            os.utime(lock.path, (1, 1))

    monkeypatch.setattr(run_lock.time, "sleep", sleep)
    if lives:
        with pytest.raises(UserError, match="process 1 on another trains there already"):
            lock.acquire()
    else:
        assert lock.acquire() == "process 1 on another trained here, and is not there any more"
        lock.release()


def test_two_that_find_a_dead_holder_do_not_both_get_the_folder(tmp_path, monkeypatch):
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.path.write_text(json.dumps(OTHER))
    monkeypatch.setattr(run_lock, "SECONDS_OF_SILENCE", 0.0)
    original = os.rename

    def rename(source, target):
        monkeypatch.setattr(os, "rename", original)
        first.acquire()  # was faster
        original(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(UserError, match="trains there already"):
        second.acquire()
    assert read_holder(first.path) == first._holder
    first.release()


def test_who_was_taken_for_dead_learns_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "SECONDS_BETWEEN_BEATS", 0.01)
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.path.write_text(json.dumps(OTHER))
    lock._thread.join(60)
    assert lock.taken_by.host == "another"
    lock.release()
    assert read_holder(lock.path).host == "another"


def test_a_folder_behind_a_link_is_replaced_where_it_is(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to("disk")
    with replaced_folder(tmp_path / "model") as folder:
        (folder / "a").touch()
    assert (tmp_path / "model").is_symlink()
    assert (tmp_path / "disk" / "a").exists()
