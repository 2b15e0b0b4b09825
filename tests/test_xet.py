"""Large files travel by Xet, as they do unless it is switched off: once, whatever the storage does meanwhile."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from hub_client import HubClient
from hub_server import HubServer
from shared import run_python, write_shards
from test_upload import MESSAGES, contents, start

from modeling_resnet50.hub import upload
from modeling_resnet50.hub.upload import EXIT_LEFT, EXIT_REFUSED, FAREWELL, Item, enqueue, files_of, state_of, waiting


@pytest.fixture(scope="module")
def hub():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def sender(hub, tmp_path_factory):
    with HubClient(hub, tmp_path_factory.mktemp("home"), xet=True) as sender:
        yield sender


@pytest.fixture(scope="module")
def ended(hub, tmp_path_factory):
    """Whose tries are given a time limit, each: it never sends itself, and so can be forked."""
    with HubClient(hub, tmp_path_factory.mktemp("home"), xet=True) as client:
        yield client


@pytest.fixture
def model(tmp_path) -> Path:
    """A folder as a model's, like no other."""
    files = {"README.md": b"---\nlicense: mit\n---\n", "config.json": b"{}", "model.safetensors": os.urandom(300_000)}
    (tmp_path / "model").mkdir()
    for name, content in files.items():
        (tmp_path / "model" / name).write_bytes(content)
    return tmp_path / "model"


@pytest.fixture
def repo_id(hub, tmp_path) -> str:
    """Of a test's own; no fault of an earlier one waits for it."""
    hub.faults.clear()
    return f"ann/{tmp_path.name}"


def queue(tmp_path: Path, repo_id: str, model: Path, **settings) -> Path:
    enqueue(tmp_path / "hub", Item(repo_id, "main", "The model", **settings), files_of(model))
    return waiting(tmp_path / "hub")[-1]


def asked(hub, since: int = 0) -> Counter:
    """How often each of Xet's addresses was asked for, without hashes."""
    matches = [re.match(r"/xet/(?:v\d/)?([\w-]+)", path) for _, path in hub.requests[since:]]
    return Counter(match[1] for match in matches if match)


def assert_published_once(hub, repo_id, model) -> None:
    repo = hub.repos[repo_id]
    assert {**repo.files, ".gitattributes": b""} == {**contents(model), ".gitattributes": b""}
    assert [commit.title for commit in repo.commits] == ["initial commit", "The model"]


SENT = {"xorb-grants": 1, "blocks": 1, "xorb-commits": 1, "shards": 1}


def test_it_goes_by_xet_once_and_another_machine_sends_nothing_that_is_there(hub, sender, repo_id, model, tmp_path):
    since = len(hub.requests)
    path = queue(tmp_path, repo_id, model)
    assert sender.send(path)["changes"] == 3
    assert asked(hub, since) == {"chunks": 1, **SENT}
    assert not [path for _, path in hub.requests if "/info/lfs/" in path or path.startswith("/lfs/")]
    assert sender.send(path)["changes"] == 0
    assert_published_once(hub, repo_id, model)
    since = len(hub.requests)
    with HubClient(hub, tmp_path / "elsewhere", xet=True) as another:
        assert another.send(queue(tmp_path, f"{repo_id}-copy", model))["changes"] == 3
    assert asked(hub, since) == {"chunks": 1, "xorb-grants": 1, "shards": 1}  # granted: it is there
    assert_published_once(hub, f"{repo_id}-copy", model)


# The network


STAGES = {
    "token": ("GET", "/xet-write-token/"),
    "grant": ("POST", "/xorb-grants/"),
    "put": ("PUT", "/xet/blocks/"),
    "xorb": ("POST", "/xorb-commits/"),
    "shard": ("POST", "/shards"),
    "commit": ("POST", "/commit/main"),
}
PASSING = [(fault, stage) for stage in STAGES for fault in (500, 429, "drop", "cut")]
PASSING += [(400, stage) for stage in ("grant", "put", "xorb", "shard")]  # the storage's, not the Hub's
PASSING += [("spoil", "put"), (412, "commit")]


@pytest.mark.parametrize(("fault", "stage"), PASSING)
def test_what_passes_is_tried_again_and_nothing_is_committed_twice(
    fault, stage, hub, sender, repo_id, model, tmp_path
):
    hub.fail_next(*STAGES[stage], fault)
    path, failures = queue(tmp_path, repo_id, model), []
    while "commit" not in (result := sender.send(path)):
        failures.append(result["failure"])
    assert hub.faults == []
    assert len(failures) <= 1
    assert not any("cannot be reached" in failure for failure in failures) or fault in ("drop", "cut")
    assert_published_once(hub, repo_id, model)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "commit"])
@pytest.mark.parametrize("fault", [500, 429, "drop"])
def test_a_storage_that_fails_all_the_time_fails_the_try_which_says_how(
    fault, stage, hub, sender, repo_id, model, tmp_path
):
    hub.fail_next(*STAGES[stage], fault, times=100)
    path = queue(tmp_path, repo_id, model)
    result = sender.send(path)
    if stage == "put":  # then it goes without a grant
        assert result["changes"] == 3
    else:
        assert {500: "(500 ", 429: "(429 ", "drop": "the Hub cannot be reached ("}[fault] in result["failure"]
        assert hub.repos[repo_id].files.keys() == {".gitattributes"}
        hub.faults.clear()
        assert sender.send(path)["changes"] == 3
    assert_published_once(hub, repo_id, model)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_refusals_where_a_grant_leads_pass_as_the_client_asks_for_another(
    status, hub, sender, repo_id, model, tmp_path
):
    hub.fail_next(*STAGES["put"], status)
    assert sender.send(queue(tmp_path, repo_id, model))["changes"] == 3
    assert hub.faults == []
    assert_published_once(hub, repo_id, model)


REFUSALS = [
    (status, stage)
    for status in MESSAGES
    for stage in ("token", "grant", "xorb", "shard", "commit")
    if (status, stage) not in {(404, "grant"), (404, "xorb")}  # by which the client knows an older storage
    and (status in upload._REFUSALS or stage in ("token", "commit"))  # which are the Hub's
]


@pytest.mark.parametrize(("status", "stage"), REFUSALS)
def test_what_will_not_pass_is_said_in_the_promised_words_and_sent_when_it_is_mended(
    status, stage, hub, sender, repo_id, model, tmp_path
):
    hub.fail_next(*STAGES[stage], status)
    path = queue(tmp_path, repo_id, model)
    words, _, said = sender.send(path)["refused"].partition(". The Hub says: ")
    assert words == upload._REFUSALS.get(status, upload._OTHER_REFUSAL).format(repo=repo_id, status=status)
    assert said in ("", "fail_next asked for it")
    assert hub.faults == []
    assert sender.send(path)["changes"] == 3
    assert_published_once(hub, repo_id, model)


@pytest.mark.parametrize("fault", [None, 500, 429, "drop", "cut", 400, 401, 403, 404, 413])
def test_a_storage_without_grants_is_sent_to_directly(fault, hub, sender, repo_id, model, tmp_path):
    hub.fail_next(*STAGES["grant"], 404, times=2)
    if fault is not None:
        hub.fail_next("POST", "/xorbs/", fault)
    path = queue(tmp_path, repo_id, model)
    result = sender.send(path)
    if fault in upload._REFUSALS:
        assert result == {"refused": upload._REFUSALS[fault].format(repo=repo_id)}
    elif fault == 400:
        assert "(400 Bad Request)" in result["failure"]
    if "commit" not in result:
        assert sender.send(path)["changes"] == 3
    assert_published_once(hub, repo_id, model)


def upload_all(hub, tmp_path, farewell: bytes = FAREWELL, **settings) -> int:
    """As test_upload's, by Xet."""
    process = start(hub, tmp_path, HF_HUB_DISABLE_XET="0", HF_XET_CLIENT_RETRY_BASE_DELAY="20ms", **settings)
    process.communicate(farewell)
    return process.returncode


@pytest.mark.parametrize(("fault", "stage"), [("hang", "token"), ("drip", "shard")])
def test_what_is_left_of_a_try_that_was_ended_is_in_no_ones_way(fault, stage, hub, ended, repo_id, model, tmp_path):
    hub.fail_next(*STAGES[stage], fault)
    path = queue(tmp_path, repo_id, model)
    assert "no answer within " in ended.send(path, time_limit=1)["failure"]
    hub.faults.clear()  # on a machine that is slow, a try may end before it has come so far
    assert ended.send(path, time_limit=60)["changes"] == 3
    assert_published_once(hub, repo_id, model)


@pytest.mark.parametrize(("fault", "stage"), [("hang", "put"), ("gone", "put")])
def test_a_try_ends_in_time_whatever_the_client_waits_for(fault, stage, hub, repo_id, model, tmp_path):
    hub.fail_next(*STAGES[stage], fault)
    queue(tmp_path, repo_id, model)
    if fault != "gone":  # on a machine that is slow, a try may end before it has come so far
        assert upload_all(hub, tmp_path, farewell=b"", time_limit=6) == EXIT_LEFT
        assert "no answer within " in state_of(tmp_path / "hub")["trouble"]
        hub.faults.clear()
    assert upload_all(hub, tmp_path) == 0
    assert hub.faults == []
    assert_published_once(hub, repo_id, model)


def test_the_queue_is_patient_the_client_in_it_is_not(hub, repo_id, model, tmp_path):
    """By itself it would ask seven times, with more and more seconds in between, while the end of training waits."""
    hub.fail_next(*STAGES["shard"], 500, times=100)
    queue(tmp_path, repo_id, model)
    since = len(hub.requests)
    assert upload_all(hub, tmp_path, farewell=b"") == EXIT_LEFT
    assert asked(hub, since)["shards"] == 3
    assert "(500 Internal Server Error)" in state_of(tmp_path / "hub")["trouble"]


def test_a_refusal_ends_the_queue_with_its_exit_code(hub, repo_id, model, tmp_path):
    hub.fail_next(*STAGES["xorb"], 413)
    queue(tmp_path, repo_id, model)
    assert upload_all(hub, tmp_path) == EXIT_REFUSED
    assert state_of(tmp_path / "hub")["trouble"] == upload._REFUSALS[413].format(repo=repo_id)


def test_what_was_sent_before_a_failure_is_not_sent_again(hub, sender, repo_id, model, tmp_path):
    for stage, status in (("shard", 400), ("commit", 500)):
        hub.fail_next(*STAGES[stage], status)
    path = queue(tmp_path, repo_id, model)
    since = len(hub.requests)
    assert [list(sender.send(path)) for _ in range(2)] == [["failure"], ["failure", "after"]]
    assert sender.send(path)["changes"] == 3
    assert asked(hub, since)["blocks"] == 1
    assert_published_once(hub, repo_id, model)


def test_of_much_each_part_is_known_before_the_next_is_sent(hub, repo_id, model, tmp_path):
    """What Xet has not been told of when a process is killed, it is sent again."""
    for number in range(2):
        (model / f"part-{number}.safetensors").write_bytes(os.urandom(100_000))
    since = len(hub.requests)
    with HubClient(hub, tmp_path / "home", xet=True, batch_size=50_000) as sender:
        assert sender.send(queue(tmp_path, repo_id, model))["changes"] == 5
    paths = [path for _, path in hub.requests[since:] if "/blocks/" in path or "/shards" in path]
    assert ["shards" in path for path in paths] == [False, True] * 3
    assert_published_once(hub, repo_id, model)


# Data sets


def test_a_data_set_is_never_seen_half(hub, sender, repo_id, tmp_path):
    """Six hundred shards replace others, with an answer that is lost: one commit, in which the others are gone."""
    earlier = {f"data/train-{number}.parquet": b"earlier" for number in range(300)}
    repo = hub.add_repo(repo_id, {**earlier, "notes.md": b"by hand"}, "dataset")
    shards = tmp_path / "packed" / "data"
    shards.mkdir(parents=True)
    for number in range(600):
        (shards / f"train-{number:05d}.parquet").write_bytes(os.urandom(100))
    hub.fail_next(*STAGES["commit"], "cut")
    path = queue(tmp_path, repo_id, tmp_path / "packed", dataset=True)
    assert "failure" in sender.send(path)
    assert sender.send(path)["url"] == f"{hub.url}/datasets/{repo_id}/tree/main"
    assert repo.files == {**contents(tmp_path / "packed"), "notes.md": b"by hand"}
    assert [commit.title for commit in repo.commits] == ["initial commit", "The model"]


# Reading


READ = """
import sys
from pathlib import Path
import datasets
from modeling_resnet50.data.sources import load_splits
from resnet50_recipe.errors import UserError
from modeling_resnet50.hub.publishing import fetch_backup
from modeling_resnet50.prepare.hub import fetch_from_hub
from modeling_resnet50.prepare.steps import Steps
from resnet50_recipe.training_arguments import TrainingArguments
from modeling_resnet50.training.run_folder import RunFolder
datasets.config.USE_PARQUET_EXPORT = False  # which it would ask another server for
folder = Path(sys.argv[1])
recipe = TrainingArguments(output_dir=str(folder / "run"), resume_from_checkpoint="hub:ann/backup")
for read in (
    lambda: load_splits("ann/data"),
    lambda: fetch_from_hub("ann/data", folder / "data", Steps()),
    lambda: fetch_backup(recipe, RunFolder(recipe)),
):
    try:
        read()
    except UserError as error:
        print(error)
"""


def test_a_storage_that_gives_nothing_is_named_in_one_line(tmp_path, image_folder):
    with HubServer() as hub:
        hub.add_folder("ann/data", write_shards(image_folder, tmp_path / "shards"), "dataset")
        hub.add_repo("ann/backup", {"checkpoints/epoch-0001/model.safetensors": b"weights"})
        for repo in hub.repos.values():
            for content in repo.files.values():
                hub.xet.add_file(content)
        hub.fail_next("GET", "/reconstructions/", 403, times=100)
        environment = hub.environment(tmp_path / "home", xet=True)
        result = run_python(["-c", READ, str(tmp_path)], **environment)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if not line.startswith("fetch ")]
    begins = ["cannot read ann/data: ", "cannot fetch ann/data (", "resume_from_checkpoint hub:ann/backup: "]
    for line, begin in zip(lines, begins, strict=True):
        assert line.startswith(begin), result.stdout
        assert "HTTP status client error (403 Forbidden)" in line
