"""ImageNet from the Hub's parquet files: whole, resumed, or a clear message."""

import json
from pathlib import Path

import datasets
import pytest
from hub_server import HubServer
from shared import run_python
from synthetic_imagenet import WNIDS, jpeg

from modeling_resnet50.data.sources import load_splits


# Importing takes far longer than fetching: one process for all the calls of a test.
FETCH = """
import io, json, os, sys
from pathlib import Path
from resnet50_recipe.errors import UserError
from modeling_resnet50.prepare.hub import fetch_from_hub
from modeling_resnet50.prepare.steps import Steps
messages = []
for repo_id, to, revision, token in json.loads(sys.argv[1]):
    os.environ["HF_TOKEN"] = token
    try:
        fetch_from_hub(repo_id, Path(to), Steps(io.StringIO()), revision)
        messages.append("")
    except UserError as error:
        messages.append(str(error))
print(json.dumps(messages))
"""


def fetch(hub, home, calls):
    """The message of each call of fetch_from_hub, empty where it went well."""
    result = run_python(["-c", FETCH, json.dumps(calls)], **hub.environment(home))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As ILSVRC/imagenet-1k lies on the Hub: shards in data/, and a test split without labels."""
    root = tmp_path_factory.mktemp("imagenet")
    (root / "data").mkdir()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=sorted(WNIDS))})
    for split, shards in (("train", 3), ("validation", 1), ("test", 1)):
        for shard in range(shards):
            labels = [-1] * 6 if split == "test" else list(range(6))
            images = [{"bytes": jpeg(sorted(WNIDS)[i], 10 * shard + i), "path": f"{i}.JPEG"} for i in range(6)]
            rows = datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
            rows.to_parquet(root / "data" / f"{split}-{shard:05d}-of-{shards:05d}.parquet")
    (root / "README.md").write_text("---\nlicense: other\n---\n")
    return root


def test_labelled_splits_come_whole_and_only_once(folder, tmp_path):
    with HubServer() as hub:
        hub.add_folder("ann/imagenet", folder, "dataset")
        hub.fail_next("GET", "train-00001", 403)
        call = ["ann/imagenet", str(tmp_path / "data"), None, ""]
        first, *others = fetch(hub, tmp_path / "home", [call] * 3)
        assert "give the same command again, it goes on" in first
        assert others == ["", ""]
        gets = [path for method, path in hub.requests if method == "GET" and path.endswith(".parquet")]
    wanted = [path for path in folder.glob("data/*.parquet") if not path.name.startswith("test")]
    assert {Path(path).name for path in gets} == {path.name for path in wanted}
    assert len(gets) == len(wanted) + 1  # the failed one again, and nothing else
    for path in wanted:
        assert (tmp_path / "data" / "data" / path.name).read_bytes() == path.read_bytes()
    splits = load_splits(str(tmp_path / "data"))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 18, "validation": 6}


def test_without_access_data_or_network_the_message_says_what_to_do(tmp_path):
    to = str(tmp_path / "data")
    with HubServer() as hub:
        hub.add_repo("ann/gated", {"train.parquet": b"1"}, "dataset", gated=True)
        hub.add_repo("ann/private", {"train.parquet": b"1"}, "dataset", private=True)
        hub.add_repo("ann/pictures", {"1.jpg": b"1"}, "dataset")
        hub.add_repo("ann/far", {"train.parquet": b"1"}, "dataset")
        hub.fail_next("GET", "ann/far", "drop", times=100)
        calls = [
            ["ann/gated", to, None, "hf_eve"],
            ["ann/private", to, None, "hf_eve"],
            ["ann/pictures", to, None, ""],
            ["ann/pictures", to, "v9", ""],
            ["ann/far", to, None, ""],
        ]
        gated, private, pictures, revision, far = fetch(hub, tmp_path / "home", calls)
        terms = f"{hub.url}/datasets/ann/gated"
    assert gated.startswith(f"ann/gated is gated, and this account has no access yet: accept its terms at {terms}")
    assert private.startswith("ann/private: no such data set on the Hub, or a private one; `hf auth login`")
    assert pictures.startswith("ann/pictures has no parquet files")
    assert revision == "ann/pictures has no revision 'v9'"
    assert far.startswith("cannot fetch ann/far (")
    assert far.endswith("give the same command again, it goes on")
