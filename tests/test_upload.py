"""What waits in the queue on the disk reaches the Hub, once, whatever the network does meanwhile."""

import json
import multiprocessing
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hub_client import HubClient
from hub_server import HubServer
from processes import run_in_a_fork
from shared import run_python

from modeling_resnet50.hub import upload
from modeling_resnet50.hub.upload import (
    EXIT_LEFT,
    EXIT_REFUSED,
    FAREWELL,
    Item,
    Uploader,
    compare,
    enqueue,
    files_of,
    next_item,
    read_item,
    read_records,
    state_of,
    waiting,
)


ITEM = Item("ann/net", "main", "The model", tag="v1.0")


@pytest.fixture(scope="module")
def server():
    with HubServer() as server:
        yield server


@pytest.fixture
def hub(server):
    server.forget()
    return server


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    with HubClient(server, tmp_path_factory.mktemp("home"), xet=False) as client:
        yield client


@pytest.fixture
def model(tmp_path):
    """A folder as a model's, small."""
    files = {"README.md": b"---\nlicense: mit\n---\n", "config.json": b"{}", "model.safetensors": os.urandom(5000),
             "runs/events.out.tfevents.1": b"\x00\x01"}  # fmt: skip
    for name, content in files.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "model"


def contents(folder) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files_of(folder).items()}


@pytest.fixture
def upload_all(client, tmp_path, monkeypatch):
    """Returns a function: the exit code of an uploader to whose queue nothing will be added, with that client."""

    def run(wait: float = 100, time_limit: float | None = None) -> int:
        monkeypatch.setattr(upload, "in_a_process", lambda arguments, *_: client.send(arguments[-1], time_limit))
        uploader = Uploader(tmp_path / "hub", wait, first_delay=0.05)
        uploader.nothing_more_comes()
        return uploader.run()

    return run


def start(hub, tmp_path, wait: float = 100, time_limit: float = 100, **environment: str) -> subprocess.Popen:
    """The uploader as training starts it."""
    command = [sys.executable, "-P", upload.__file__, tmp_path / "hub", "--wait", str(wait)]
    return subprocess.Popen(
        [*command, "--first_delay", "0.05", "--time_limit", str(time_limit)],
        stdin=subprocess.PIPE,
        env={**os.environ, **hub.environment(tmp_path / "home", "hf_ann"), **environment},
    )


def started(hub, tmp_path, farewell: bytes = FAREWELL, **settings) -> int:
    """Its exit code, when it is told that nothing more will come."""
    process = start(hub, tmp_path, **settings)
    process.communicate(farewell)
    return process.returncode


def commits(hub, branch: str = "main") -> list[str]:
    repo = hub.repos["ann/net"]
    return [commit.title for commit in repo.commits if commit.title != "initial commit"]


# The queue


def test_a_newer_state_of_a_branch_replaces_one_that_waits_and_others_stay_in_order(tmp_path, model):
    items = [Item("ann/net", revision, f"{number}") for number, revision in enumerate(["main", "a", "main", "b"])]
    for item in items:
        enqueue(tmp_path / "hub", item, files_of(model))
    sent = []
    while (path := next_item(tmp_path / "hub")) is not None:
        sent.append(read_item(path))
        shutil.rmtree(path)
    assert sent == [items[1], items[2], items[3]]


def test_files_wait_as_links_and_growing_ones_as_copies_of_what_they_were(tmp_path, model):
    (tmp_path / "log").write_bytes(b"before")
    enqueue(tmp_path / "hub", ITEM, files_of(model), growing={"log": tmp_path / "log"})
    (tmp_path / "log").write_bytes(b"after")
    (path,) = waiting(tmp_path / "hub")
    assert contents(path / "files") == {**contents(model), "log": b"before"}
    assert (path / "files" / "model.safetensors").samefile(model / "model.safetensors")


def test_where_links_are_impossible_files_are_copied(tmp_path, model, monkeypatch):
    def link(*_):
        raise OSError("Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    enqueue(tmp_path / "hub", ITEM, files_of(model))
    assert contents(waiting(tmp_path / "hub")[0] / "files") == contents(model)


def test_killed_while_queueing_all_of_it_waits_or_nothing(tmp_path, model):
    for kill_at in range(1, 40):
        folder = tmp_path / str(kill_at)
        code = run_in_a_fork(lambda: enqueue(folder, ITEM, files_of(model)), kill_at=kill_at)  # noqa: B023
        queued = waiting(folder)
        assert [contents(path / "files") for path in queued] in ([], [contents(model)])
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert kill_at > 5
    assert len(queued) == 1


@pytest.mark.parametrize("content", [b"", b'{"half": ', b"\x00" * 99, b"\xff"], ids=repr)
def test_what_a_power_failure_has_spoilt_stops_no_upload(content, tmp_path, model):
    enqueue(tmp_path, ITEM, files_of(model))
    (tmp_path / "upload.json").write_bytes(content)
    (tmp_path / "published.jsonl").write_bytes(b'{"message": "whole"}\n' + content)
    assert state_of(tmp_path) == {"waiting": [], "trouble": None, "refused": False}
    assert read_records(tmp_path) == [{"message": "whole"}]


def test_a_queued_item_is_on_the_disk_before_it_has_its_name(tmp_path, model, monkeypatch):
    calls, fsync, rename = [], os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    monkeypatch.setattr(os, "rename", lambda *names: (calls.append("rename"), rename(*names)))
    enqueue(tmp_path, ITEM, files_of(model))
    assert [os.path.basename(call) for call in calls] == ["item.json", "rename"]


def test_what_differs_is_told_by_the_hubs_own_checksums(tmp_path, model):
    """git's id of a small file is that of `git hash-object`."""
    expected = subprocess.run(["git", "hash-object", model / "config.json"], capture_output=True, text=True)
    remote = {"config.json": expected.stdout.strip(), "README.md": "0" * 40, "old": "1" * 40, "notes": "2" * 40}
    assert compare(files_of(model), remote, ours={"old"}) == {
        "added": ["model.safetensors", "runs/events.out.tfevents.1"],
        "changed": ["README.md"],
        "deleted": ["old"],  # "notes" is somebody else's
        "same": ["config.json"],
    }


def test_weights_in_other_files_go_as_transformers_would_take_them():
    """Of model.safetensors and shards, it takes the first, whichever is newer."""
    one = {"model.safetensors": "1", "config.json": "2", "vocab.json": "3", "below/model.safetensors": "4"}
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)] + ["model.safetensors.index.json"]
    none = dict.fromkeys(shards, Path(os.devnull))
    assert compare(none, one, set())["deleted"] == ["model.safetensors"]
    single = {"model.safetensors": Path(os.devnull)}
    assert compare(single, dict.fromkeys([*shards, "model.md"], "1"), set())["deleted"] == sorted(shards)
    assert compare({"README.md": Path(os.devnull)}, one, set())["deleted"] == []


def test_what_it_asks_the_hub_for(hub, upload_all, tmp_path, model):
    """The same by huggingface_hub 1.33 and 2.4, the first and the last that this was tried with."""
    asked = []
    for _ in range(2):
        enqueue(tmp_path / "hub", Item("ann/net", "epoch-0001", "Epoch 1", tag="v1"), files_of(model))
        before = len(hub.requests)
        assert upload_all() == 0
        asked.append([f"{method} {re.sub('[0-9a-f]{40,64}', 'ID', path)}" for method, path in hub.requests[before:]])
    look, refs = "GET /api/models/ann/net", "GET /api/models/ann/net/refs"
    assert asked[0] == [
        look, "POST /api/repos/create", refs, "POST /api/models/ann/net/branch/epoch-0001", refs,
        "GET /api/models/ann/net/tree/ID", "POST /api/validate-yaml", "POST /api/models/ann/net/preupload/epoch-0001",
        "POST /ann/net.git/info/lfs/objects/batch", "PUT /lfs/ID", "POST /lfs/ID",
        "POST /api/models/ann/net/commit/epoch-0001", "GET /api/models/ann/net/refs",
        "POST /api/models/ann/net/tag/ID",
    ]  # fmt: skip
    # The second time it looks, and finds all of it there; the tag is asked for again, and may be there.
    assert asked[1] == [look, refs, "GET /api/models/ann/net/tree/ID", "GET /api/models/ann/net/refs",
                        "POST /api/models/ann/net/tag/ID"]  # fmt: skip


# The network


STAGES = {
    "create": ("POST", "/api/repos/create"),
    "preupload": ("POST", "/preupload/"),
    "PUT": ("PUT", "/lfs/"),
    "commit": ("POST", "/commit/"),
    "tag": ("POST", "/tag/"),
}
PASSING = [500, 503, 429, 408, "drop", "cut", "hang", "drip", "gone"]
MESSAGES = {401: "hf auth login", 403: "may not write to ann/net", 404: "ann/net is not there", 413: "too large"}
MESSAGES |= {status: f"the Hub refuses ann/net what is sent ({status})" for status in (400, 402, 410, 422)}


def assert_published_once(hub, tmp_path, model) -> None:
    repo = hub.repos["ann/net"]
    assert {**repo.files, ".gitattributes": b""} == {**contents(model), ".gitattributes": b""}
    assert commits(hub) == ["The model"]
    assert repo.tags == {"v1.0": repo.branches["main"]}
    assert waiting(tmp_path / "hub") == []
    (record,) = read_records(tmp_path / "hub")
    assert record["commit"] == repo.branches["main"]
    assert record["files"] == sorted(contents(model))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_waited_for_and_nothing_is_lost_or_sent_twice(fault, stage, hub, upload_all, tmp_path, model):
    hub.retry_after = "0"
    hub.fail_next(*STAGES[stage], fault)
    enqueue(tmp_path / "hub", ITEM, files_of(model))
    assert upload_all(time_limit=1 if fault in ("hang", "drip") else None) == 0
    assert hub.faults == []
    assert_published_once(hub, tmp_path, model)


@pytest.mark.parametrize(("fault", "stage"), [("hang", "PUT"), ("drip", "commit"), (500, "create")])
def test_the_uploader_that_training_starts_ends_a_try_and_makes_another(fault, stage, hub, tmp_path, model):
    hub.fail_next(*STAGES[stage], fault)
    enqueue(tmp_path / "hub", ITEM, files_of(model))
    assert started(hub, tmp_path, time_limit=6 if fault in ("hang", "drip") else 100) == 0
    assert hub.faults == []
    assert_published_once(hub, tmp_path, model)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_refusals_of_the_storage_pass_as_it_has_new_addresses_each_time(status, hub, upload_all, tmp_path, model):
    test_what_passes_is_waited_for_and_nothing_is_lost_or_sent_twice(status, "PUT", hub, upload_all, tmp_path, model)


REFUSALS = [(status, stage) for status in MESSAGES for stage in STAGES if stage != "PUT" or status == 413]


@pytest.mark.parametrize(("status", "stage"), REFUSALS)
def test_what_will_not_pass_is_said_and_sent_when_it_is_mended(status, stage, hub, upload_all, tmp_path, model):
    hub.fail_next(*STAGES[stage], status)
    enqueue(tmp_path / "hub", ITEM, files_of(model))
    assert upload_all() == EXIT_REFUSED
    assert hub.faults == []  # it was asked once
    assert MESSAGES[status] in state_of(tmp_path / "hub")["trouble"]
    if status not in (401, 404, 413):  # of which there are several, such as a storage that is full
        assert state_of(tmp_path / "hub")["trouble"].endswith(". The Hub says: fail_next asked for it")
    assert state_of(tmp_path / "hub")["waiting"] == ["The model → ann/net@main"]
    hub.faults.clear()
    assert upload_all() == 0
    assert_published_once(hub, tmp_path, model)


@pytest.mark.parametrize(
    ("message", "files", "words"),
    [
        ("", {}, "commit_message` can't be empty"),
        ("The model", {"README.md": b"\xff\xfe"}, "can't decode byte 0xff"),
        ("The model", {".cache/a": b""}, "cannot update files under a '.cache/' folder"),
    ],
)
def test_what_the_client_itself_does_not_take_is_said_once(message, files, words, hub, upload_all, tmp_path, model):
    for name, content in files.items():
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(content)
    enqueue(tmp_path / "hub", Item("ann/net", "main", message), files_of(model))
    assert upload_all() == EXIT_REFUSED
    trouble = state_of(tmp_path / "hub")["trouble"]
    assert trouble.startswith("the Hub's client refuses this: ")
    assert words in trouble


def test_what_is_refused_of_one_branch_holds_no_other_up(hub, upload_all, tmp_path, model):
    hub.fail_next("POST", "/commit/epoch-0001", 400)
    enqueue(tmp_path / "hub", Item("ann/net", "epoch-0001", "Epoch 1"), files_of(model))
    enqueue(tmp_path / "hub", ITEM, files_of(model))
    assert upload_all() == EXIT_REFUSED
    assert {**hub.repos["ann/net"].files, ".gitattributes": b""} == {**contents(model), ".gitattributes": b""}
    state = state_of(tmp_path / "hub")
    assert (state["waiting"], state["refused"]) == (["Epoch 1 → ann/net@epoch-0001"], True)
    assert "(400)" in state["trouble"]
    assert upload_all() == 0
    assert hub.repos["ann/net"].at("epoch-0001").files.keys() == hub.repos["ann/net"].files.keys()


@pytest.mark.parametrize("kind", ["model", "space"])
def test_a_repository_that_was_renamed_takes_what_is_sent_to_its_old_name(kind, hub, upload_all, tmp_path, model):
    """A client that asks for a new repository, as with `exist_ok`, might be given one."""
    prefix = "spaces/" if kind == "space" else ""
    renamed = hub.add_repo("ann/renamed", {"notes.md": b"by hand"}, repo_type=kind)
    hub.renamed[f"{prefix}ann/net"] = f"{prefix}ann/renamed"
    item = Item("ann/net", "main", "The model", tag="v1.0", space_sdk="static" if kind == "space" else None)
    enqueue(tmp_path / "hub", item, files_of(model))
    assert upload_all() == 0
    assert list(hub.repos.values()) == [renamed]
    assert renamed.files == {**contents(model), "notes.md": b"by hand"}
    assert renamed.tags == {"v1.0": renamed.branches["main"]}
    assert read_records(tmp_path / "hub")[0]["url"] == f"{hub.url}/{prefix}ann/renamed/tree/main"


def test_a_spoilt_upload_is_sent_again(hub, upload_all, tmp_path, model):
    hub.fail_next(*STAGES["PUT"], "spoil")
    enqueue(tmp_path / "hub", ITEM, files_of(model))
    assert upload_all() == 0
    assert hub.faults == []
    assert_published_once(hub, tmp_path, model)


def test_it_waits_as_long_as_the_hub_asks_for(hub, upload_all, tmp_path, model):
    hub.retry_after = "50"
    hub.fail_next(*STAGES["commit"], 429)
    enqueue(tmp_path / "hub", ITEM, files_of(model))
    assert upload_all(wait=20) == EXIT_LEFT
    assert "tried 1 times, again in 50 s" in state_of(tmp_path / "hub")["trouble"]


def test_when_training_was_killed_it_tries_once_and_ends(hub, tmp_path, model):
    hub.fail_next(*STAGES["commit"], 500)
    enqueue(tmp_path / "hub", ITEM, files_of(model))
    assert started(hub, tmp_path, farewell=b"") == EXIT_LEFT
    assert len(waiting(tmp_path / "hub")) == 1
    assert started(hub, tmp_path, farewell=b"") == 0
    assert_published_once(hub, tmp_path, model)


def test_a_try_ends_with_the_uploader_that_is_killed():
    """It would wait for a Hub that does not answer, beside the tries of the next uploader."""
    said, log = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as silent, os.fdopen(log, "w") as log_file:
        address = {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "HF_TOKEN": "hf_ann"}
        trying = ["--prepare", "ann/net"], 300, log_file, {**os.environ, "HF_HUB_OFFLINE": "0", **address}
        uploader = multiprocessing.get_context("fork").Process(target=upload.in_a_process, args=trying)
        uploader.start()
        silent.accept()
        uploader.kill()
        uploader.join()
        log_file.close()  # nobody else holds it but the try
        assert select.select([said], [], [], 20)[0]
    assert os.read(said, 2**16) == b""
    os.close(said)


def test_somebody_elses_commit_in_between_is_kept(hub, upload_all, tmp_path, model):
    enqueue(tmp_path / "hub", ITEM, files_of(model))
    assert upload_all() == 0
    hub.repos["ann/net"].commit("notes", {"notes.md": b"by hand"})
    (model / "config.json").write_bytes(b'{"new": 1}')
    (model / "runs" / "events.out.tfevents.1").unlink()
    enqueue(tmp_path / "hub", Item("ann/net", "main", "Again"), files_of(model))
    assert upload_all() == 0
    repo = hub.repos["ann/net"]
    assert repo.files["notes.md"] == b"by hand"
    assert "runs/events.out.tfevents.1" not in repo.files  # ours, and no longer there
    assert repo.commits[-1].paths == ["config.json", "runs/events.out.tfevents.1"]  # only what differs


def test_of_a_backup_the_checkpoints_of_another_machine_go(hub, upload_all, tmp_path):
    """A run that has moved would else keep the last one of each machine; and of two lines, the later wins."""
    repo = hub.add_repo("ann/net", {"checkpoints/epoch-0009/state.json": b"{}", "notes.md": b"by hand"})
    (tmp_path / "state.json").write_bytes(b"{}")
    item = Item("ann/net", "main", "Backup of epoch-0002", private=True, backup=True)
    enqueue(tmp_path / "hub", item, {"checkpoints/epoch-0002/state.json": tmp_path / "state.json"})
    assert upload_all() == 0
    assert repo.files.keys() == {"checkpoints/epoch-0002/state.json", "notes.md"}


def test_a_tag_on_another_commit_is_not_moved(hub, upload_all, tmp_path, model):
    repo = hub.add_repo("ann/net", {"a": b""})
    repo.tags["v1.0"] = repo.branches["main"]
    enqueue(tmp_path / "hub", ITEM, files_of(model))
    assert upload_all() == EXIT_REFUSED
    assert "has a tag v1.0 already, on another commit" in state_of(tmp_path / "hub")["trouble"]


def test_no_token_is_written_even_when_everything_is_logged(hub, tmp_path, model):
    hub.fail_next(*STAGES["commit"], 500)
    hub.fail_next(*STAGES["tag"], 403)
    enqueue(tmp_path / "hub", ITEM, files_of(model))
    environment = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug"}
    process = start(hub, tmp_path, **environment)
    assert process.wait(60) == EXIT_REFUSED  # while training goes on
    process.stdin.close()
    log = (tmp_path / "hub" / "log.txt").read_text()
    assert "commit" in log  # it is at that level
    for path in (tmp_path / "hub").rglob("*"):
        assert not path.is_file() or b"hf_ann" not in path.read_bytes(), path


def test_it_starts_without_the_package_and_the_hubs_client(tmp_path):
    """Both take seconds and memory; the process lives as long as training."""
    program = (
        f"import runpy, sys; sys.argv = ['upload.py', '--help']; runpy.run_path({upload.__file__!r}, run_name='x')"
    )
    program += "\nassert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    assert run_python(["-P", "-c", program], fresh=True).returncode == 0


def test_a_run_that_is_overwritten_takes_its_queue_along(tmp_path, model):
    enqueue(tmp_path / "hub", ITEM, files_of(model))
    shutil.rmtree(tmp_path / "hub")
    assert next_item(tmp_path / "hub") is None
    assert state_of(tmp_path / "hub") == {"waiting": [], "trouble": None, "refused": False}
    assert json.dumps(read_records(tmp_path / "hub")) == "[]"
