"""Two processes, or a run that trains and a command, with the same files: one after the other, or one is told."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest
from hub_server import HubServer
from shared import write_image_folder

from modeling_resnet50 import files
from modeling_resnet50.commands import evaluation_output, export
from modeling_resnet50.commands.abstaining import keep_threshold
from modeling_resnet50.files import replaced_file, replaced_folder, sole_process
from modeling_resnet50.hub.upload import Item, enqueue, files_of, read_item, waiting
from modeling_resnet50.training.run_folder import open_run
from modeling_resnet50.training.run_lock import RunLock
from resnet50_cli import main
from resnet50_recipe.errors import UserError


# Threads stand for processes: a lock is of who has opened the file, not of the process.


@pytest.fixture
def second(monkeypatch):
    """Call it with an action: another thread begins it, and is over, or asks for a lock, when this returns."""
    flock, threads = files.fcntl.flock, []

    def begin(action) -> Thread:
        asked = Event()

        def announced(descriptor, how):
            asked.set()
            return flock(descriptor, how)

        monkeypatch.setattr(files.fcntl, "flock", announced)
        threads.append(Thread(target=action, daemon=True))
        threads[-1].start()
        while threads[-1].is_alive() and not asked.wait(0.05):
            pass
        return threads[-1]

    yield begin
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_who_write_a_folder_the_second_waits_and_nothing_is_mixed_or_lost(overwrite, second, tmp_path):
    target, told = tmp_path / "out", []

    def write(name: str) -> None:
        try:
            with replaced_folder(target, overwrite) as folder:
                (folder / name).write_text(name)
        except UserError as error:
            told.append(str(error))

    with replaced_folder(target, overwrite) as folder:
        other = second(lambda: write("second"))
        (folder / "first").write_text("first")
    other.join(60)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in target.iterdir()] == (["second"] if overwrite else ["first"])
    assert told == ([] if overwrite else [f"{target} is there already: choose another place, or give --overwrite"])


@pytest.mark.parametrize("kind", ["transformers", "pth"])
def test_of_two_exports_the_slower_one_does_not_replace_the_others(kind, trained, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    load = export.load_our_model

    def meanwhile(*_):
        out.write_text("the other's")

    monkeypatch.setattr(export, "load_our_model", lambda *given: (load(*given), meanwhile())[0])
    monkeypatch.setattr(export, "require_free", lambda *_: meanwhile() if kind == "pth" else None)
    with pytest.raises(SystemExit):
        main(["export", str(trained(num_train_epochs=2) / "best"), str(out), "--format", kind])
    assert f"{out} is there already" in capsys.readouterr().err
    assert out.read_text() == "the other's"


def test_of_two_who_write_a_file_both_write_it_whole(second, tmp_path):
    target = tmp_path / "out.json"

    def write() -> None:
        with replaced_file(target) as file:
            file.write_text("second")

    with replaced_file(target) as file:
        other = second(write)
        file.write_text("first")
    other.join(60)
    assert target.read_text() == "second"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_kill_has_left_of_a_folder_is_not_in_the_next(tmp_path):
    left = tmp_path / ".out.unfinished"
    (left / "below").mkdir(parents=True)
    (left / "below" / "old").touch()
    with replaced_folder(tmp_path / "out") as folder:
        (folder / "new").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]


def test_two_prepare_one_data_set_and_the_second_is_told(tmp_path, capsys):
    images, to = write_image_folder(tmp_path / "images"), tmp_path / "to"
    arguments = ["prepare", "folder", str(images), "--to", str(to), "--pack", "--num_proc", "1"]
    with sole_process(to, "prepares data"), pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert f"{to}: another process prepares data there already; wait for it, or stop it" in capsys.readouterr().err
    assert not to.exists()
    main(arguments)
    assert (to / "packed-256").is_dir()


def test_a_file_in_the_place_of_a_data_set_is_said(tmp_path, capsys):
    (tmp_path / "to").touch()
    with pytest.raises(SystemExit):
        main(["prepare", "folder", str(tmp_path), "--to", str(tmp_path / "to")])
    assert f"{tmp_path / 'to'} is a file, and not a folder" in capsys.readouterr().err


def test_what_several_queue_at_once_waits_whole(tmp_path):
    models = [tmp_path / f"{number}" for number in range(4)]
    for model in models:
        for name in range(10):
            (model / "below").mkdir(parents=True, exist_ok=True)
            (model / "below" / f"{name}").write_text(model.name)

    def put(model: Path) -> None:
        for _ in range(5):
            enqueue(tmp_path / "hub", Item("ann/net", model.name, "The model"), files_of(model))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, models))
    items = waiting(tmp_path / "hub")
    assert len(items) == 20
    for item in items:
        contents = [path.read_text() for path in files_of(item / "files").values()]
        assert contents == [read_item(item).revision] * 10


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return shutil.copytree(trained(num_train_epochs=2), tmp_path / "run")


@pytest.fixture
def training_run(run):
    """As another process that trains there has it."""
    (run / "status.json").write_text('{"status": "running"}')
    lock = RunLock(run)
    lock.acquire()
    yield run
    lock.release()


@pytest.mark.parametrize("to", ["run", "run/best"])
def test_a_model_that_training_replaces_meanwhile_is_published_as_it_was(to, run, second, tmp_path, monkeypatch):
    """Each file of one state: weights and the card that tells of them belong together."""
    before = {name: path.read_bytes() for name, path in files_of(run / "best").items()}
    link, begun = os.link, []

    def replace() -> None:
        with replaced_folder(run / "best") as folder:
            for name in before:
                (folder / name).write_bytes(b"new")

    def link_while_it_is_replaced(*arguments, **options):
        if not begun:
            begun.append(True)
            begun.append(second(replace))
        return link(*arguments, **options)

    monkeypatch.setattr(os, "link", link_while_it_is_replaced)
    with HubServer() as hub:
        for name, value in hub.environment(tmp_path / "home", "hf_ann").items():
            monkeypatch.setenv(name, value)
        main(["publish", str(tmp_path / to), "--to", "ann/net"])
        sent = {name: hub.repos["ann/net"].files[name] for name in before}
    for name in ("README.md", "training_curves.png") if to == "run" else ():  # made anew, to tell of its repository
        assert sent[name] != b"new"
        sent[name] = before[name]
    assert sent == before
    begun[1].join(60)
    assert (run / "best" / "config.json").read_bytes() == b"new"
    assert not list(run.glob(".best.*"))


def test_what_an_evaluation_found_is_not_told_to_a_model_that_training_may_have_replaced(training_run, capsys):
    best = training_run / "best"
    before = {name: path.read_bytes() for name, path in files_of(best).items()}
    assert not keep_threshold(best, {}, "digits")
    evaluation_output._tell_the_card(best, "digits", {})
    assert f"{best}: its card is not told" in capsys.readouterr().err
    assert {name: path.read_bytes() for name, path in files_of(best).items()} == before
    assert open_run(training_run)[0].stands() == "running"
    assert json.loads((best / "config.json").read_text()).get("confidence_threshold") is None
