"""The stand-in for the Hub does what the Hub does, as far as the real clients can tell."""

import json
import re

import datasets
import pytest
import timm
import torch
from hub_server import HubServer
from shared import run_python
from timm.models import save_for_hf


@pytest.fixture
def hub():
    with HubServer() as server:
        yield server


@pytest.fixture
def ask(hub, tmp_path):
    """Run a program against the stand-in, as the user of a token; the same caches in every call of a test."""

    def run(program: str, token: str | None = None, xet: bool = False) -> None:
        result = run_python(["-c", f"{program}\nprint('done')"], **hub.environment(tmp_path / "home", token, xet))
        assert result.stdout.strip() == "done", result.stderr

    return run


def test_files_are_downloaded_once_and_what_is_missing_is_told_apart(hub, ask):
    big = bytes(range(256)) * 8000
    first = hub.add_repo("ann/net", {"config.json": b"{}", "weights/model.safetensors": big})
    hub.repos["ann/net"].commit("second", {"config.json": b'{"a": 1}'})
    program = f"""
import pytest
from huggingface_hub import HfApi, get_session, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from pathlib import Path
path = hf_hub_download("ann/net", "weights/model.safetensors")
assert Path(path).read_bytes() == bytes(range(256)) * 8000
folder = Path(snapshot_download("ann/net"))
assert {{str(p.relative_to(folder)) for p in folder.rglob("*.*")}} == {{"config.json", "weights/model.safetensors"}}
assert (folder / "config.json").read_text() == '{{"a": 1}}'
old = Path(snapshot_download("ann/net", revision="{first.commits[0].oid}"))
assert (old / "config.json").read_text() == "{{}}"
info = HfApi().model_info("ann/net", files_metadata=True)
assert info.sha == "{first.commits[1].oid}" == folder.name
assert [(s.rfilename, s.size, s.lfs is None) for s in info.siblings] == [
    ("config.json", 8, True), ("weights/model.safetensors", 2048000, False)]
assert [e.path for e in HfApi().list_repo_tree("ann/net")] == ["weights", "config.json"]
assert [e.path for e in HfApi().list_repo_tree("ann/net", "weights")] == ["weights/model.safetensors"]
assert not HfApi().verify_repo_checksums("ann/net").mismatches
part = get_session().get(hf_hub_url("ann/net", "weights/model.safetensors"), headers={{"Range": "bytes=3-6"}})
assert (part.status_code, part.content) == (206, bytes([3, 4, 5, 6]))
with pytest.raises(EntryNotFoundError):
    hf_hub_download("ann/net", "no.json")
with pytest.raises(RevisionNotFoundError):
    hf_hub_download("ann/net", "config.json", revision="v9")
with pytest.raises(RepositoryNotFoundError):
    hf_hub_download("ann/nothing", "config.json")
with pytest.raises(RepositoryNotFoundError):
    HfApi().model_info("ann/nothing")
"""
    ask(program)
    assert hub.requests.count(("GET", "/ann/net/resolve/main/weights/model.safetensors")) == 2  # one is the part


def test_gated_content_is_for_those_let_in_and_private_repositories_exist_for_nobody_else(hub, ask):
    hub.add_repo("ann/gated", {"config.json": b"{}"}, gated=True).granted.add("bob")
    hub.add_repo("ann/secret", {"config.json": b"{}"}, private=True)
    program = """
import pytest
from huggingface_hub import HfApi, auth_check, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
for token, status in ((False, 401), ("hf_eve", 403)):
    with pytest.raises(GatedRepoError) as gated:
        hf_hub_download("ann/gated", "config.json", token=token)
    assert gated.value.response.status_code == status
    with pytest.raises(GatedRepoError):
        snapshot_download("ann/gated", token=token)
    assert HfApi().model_info("ann/gated", token=token).gated == "manual"
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("ann/secret", "config.json", token=token)
hf_hub_download("ann/gated", "config.json", token="hf_bob")
hf_hub_download("ann/secret", "config.json", token="hf_ann")
assert HfApi().whoami("hf_bob")["name"] == "bob"
with pytest.raises(HfHubHTTPError, match="Invalid user token"):
    HfApi().whoami("nonsense")
"""
    ask(program)


def test_a_folder_is_published_tagged_and_comes_back_byte_for_byte(hub, ask, tmp_path):
    weights = torch.randint(256, (2**20,), dtype=torch.uint8).numpy().tobytes()
    files = {"README.md": b"---\nlicense: mit\n---\n", "config.json": b"{}", "onnx/model.onnx": weights, "x.bin": b""}
    for name, content in files.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    program = f"""
import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from pathlib import Path
api, folder = HfApi(), Path({str(tmp_path / "model")!r})
for _ in range(2):
    assert api.create_repo("ann/net", exist_ok=True).repo_id == "ann/net"
with pytest.raises(HfHubHTTPError, match="409"):
    api.create_repo("ann/net")
with pytest.raises(HfHubHTTPError, match="403"):
    api.create_repo("bob/net")
first = api.upload_folder(repo_id="ann/net", folder_path=folder, commit_message="All", delete_patterns="*.pt")
api.create_tag("ann/net", tag="v1", tag_message="first")
api.create_tag("ann/net", tag="v1", exist_ok=True)
again = api.upload_folder(repo_id="ann/net", folder_path=folder)
assert again.oid == first.oid  # nothing has changed, so there is no commit
api.create_branch("ann/net", branch="dev/next", revision="v1")
second = api.upload_file(path_or_fileobj=b"new", path_in_repo="a/new.txt", repo_id="ann/net", parent_commit=first.oid)
with pytest.raises(HfHubHTTPError, match="412"):
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="ann/net", parent_commit=first.oid)
api.delete_folder("a", "ann/net", commit_message="Without a", revision="main")
api.delete_file("config.json", "ann/net", revision="dev/next")
request = api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="ann/net", create_pr=True, token="hf_bob")
assert (request.pr_num, request.pr_revision) == (1, "refs/pr/1")
with pytest.raises(HfHubHTTPError, match="403"):
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="ann/net", token="hf_bob")
refs = api.list_repo_refs("ann/net")
assert {{t.name: t.target_commit for t in refs.tags}} == {{"v1": first.oid}}
assert {{b.name for b in refs.branches}} == {{"main", "dev/next"}}
back = Path(snapshot_download("ann/net", revision="v1"))
for path in folder.rglob("*.*"):
    assert (back / path.relative_to(folder)).read_bytes() == path.read_bytes()
assert (Path(snapshot_download("ann/net", revision="refs/pr/1")) / "x").read_bytes() == b"x"
assert not Path(snapshot_download("ann/net", revision="dev/next"), "config.json").exists()
api.create_repo("ann/net", repo_type="dataset", private=True)
api.upload_file(path_or_fileobj=b"rows", path_in_repo="a.parquet", repo_id="ann/net", repo_type="dataset")
"""
    ask(program, token="hf_ann")
    repo = hub.repos["ann/net"]
    assert {**repo.files, ".gitattributes": b""} == {**files, ".gitattributes": b""}
    assert [commit.title for commit in repo.commits][:2] == ["initial commit", "All"]
    assert repo.commits[1].paths == sorted(files)
    assert repo.commits[1].parents == [repo.commits[0].oid]
    assert repo.tags == {"v1": repo.commits[1].oid}
    assert hub.repos["datasets/ann/net"].private
    assert hub.repos["datasets/ann/net"].files["a.parquet"] == b"rows"
    assert list(hub.lfs_objects.values()) == [weights, b"rows"]
    assert sum(method == "PUT" for method, _ in hub.requests) == 2


def test_what_comes_by_xet_is_cut_into_chunks_and_comes_back_byte_for_byte(hub, ask, tmp_path):
    first = torch.randint(256, (3 * 2**20,), dtype=torch.uint8).numpy().tobytes()
    files = {"a.bin": first, "b.bin": b"c", "c.bin": bytes(2**20), "d.bin": first[2**20 :] + b"d"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    program = f"""
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from pathlib import Path
api, folder, files = HfApi(), Path({str(tmp_path)!r}), {list(files)!r}
api.create_repo("ann/net")
for name in files:
    api.create_commit("ann/net", [CommitOperationAdd(name, str(folder / name))], commit_message=name)
    assert Path(hf_hub_download("ann/net", name)).read_bytes() == (folder / name).read_bytes()
back = Path(snapshot_download("ann/net", local_dir=folder / "back"))
assert all((back / name).read_bytes() == (folder / name).read_bytes() for name in files)
for entry in api.list_repo_tree("ann/net"):
    assert (entry.xet_hash is None) == (entry.path == ".gitattributes")
(folder / "e.bin").write_bytes(b"e" * 1000)
request = api.upload_file(path_or_fileobj=folder / "e.bin", path_in_repo="e.bin", repo_id="ann/net", create_pr=True,
                          token="hf_bob")
assert Path(hf_hub_download("ann/net", "e.bin", revision=request.pr_revision)).read_bytes() == b"e" * 1000
operations = [CommitOperationAdd("f.bin", str(folder / "e.bin"))]
with pytest.raises(ConnectionError, match="403 Forbidden"):
    api.create_commit("ann/net", operations, commit_message="f", token="hf_bob")
"""
    ask(program, token="hf_ann", xet=True)
    assert {**hub.repos["ann/net"].files, ".gitattributes": b""} == {**files, ".gitattributes": b""}
    assert hub.xet.files.keys() == set(hub.xet.hashes.values())
    stored = sum(len(xorb.content) for xorb in hub.xet.xorbs.values())
    assert len(first) < stored < 1.2 * len(first)  # zeros are there once, and so is what two files share
    assert not [path for _, path in hub.requests if "/lfs" in path]
    assert not [path for method, path in hub.requests if method == "GET" and re.search("resolve.*bin$", path)]


def test_injected_failures_reach_the_clients_which_retry_and_resume(hub, ask):
    content = bytes(range(256)) * 100_000  # 25.6 MB: the client writes, and resumes after, 10 MiB at a time
    hub.add_repo("ann/net", {"model.safetensors": content})
    hub.fail_next("GET", "resolve/main/model", "cut")
    hub.fail_next("POST", "info/lfs/objects/batch", 429)
    hub.fail_next("PUT", "/lfs/", "drop")
    hub.fail_next("POST", "/commit/", 500)
    program = """
import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from pathlib import Path
downloaded = Path(hf_hub_download("ann/net", "model.safetensors")).read_bytes()
assert downloaded == bytes(range(256)) * 100_000
upload = dict(path_or_fileobj=b"tensors", path_in_repo="other.safetensors", repo_id="ann/net")
with pytest.raises(HfHubHTTPError, match="500"):
    HfApi().upload_file(**upload)
HfApi().upload_file(**upload)
"""
    ask(program, token="hf_ann")
    asked = hub.requests
    assert hub.faults == []
    assert asked.count(("GET", "/ann/net/resolve/main/model.safetensors")) == 2
    assert asked.count(("POST", "/ann/net.git/info/lfs/objects/batch")) == 3
    assert sum(method == "PUT" for method, _ in asked) == 2
    assert asked.count(("POST", "/api/models/ann/net/commit/main")) == 2
    assert hub.repos["ann/net"].files == {"model.safetensors": content, "other.safetensors": b"tensors"}


def test_transformers_timm_and_datasets_load_by_id(hub, ask, tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=3, channels=(8, 8, 8, 8), stem_width=4).eval()
    args = {"num_classes": 3, "channels": [8, 8, 8, 8], "stem_width": 4}
    save_for_hf(model, tmp_path / "timm", model_args=args, safe_serialization=True)
    hub.add_folder("ann/timm", tmp_path / "timm")
    config = {"model_type": "resnet", "depths": [1, 2], "hidden_sizes": [8, 16], "layer_type": "basic"}
    hub.add_repo("ann/resnet", {"config.json": json.dumps(config).encode()})
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict({"label": [3, 1, 2]}).to_parquet(tmp_path / "data" / "train.parquet")
    hub.add_folder("ann/data", tmp_path / "data", repo_type="dataset")
    pixel_values = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.save((pixel_values, model(pixel_values)), tmp_path / "reference.pt")
    program = f"""
import datasets, timm, torch, transformers
config = transformers.AutoConfig.from_pretrained("ann/resnet", trust_remote_code=False)
assert (type(config).__name__, config.depths, config.hidden_sizes) == ("ResNetConfig", [1, 2], [8, 16])
pixel_values, logits = torch.load({str(tmp_path / "reference.pt")!r})
with torch.no_grad():
    assert torch.equal(timm.create_model("hf-hub:ann/timm", pretrained=True).eval()(pixel_values), logits)
datasets.config.USE_PARQUET_EXPORT = False  # which it would ask another server for
assert datasets.load_dataset("ann/data", split="train")["label"][:] == [3, 1, 2]
streamed = datasets.load_dataset("ann/data", split="train", streaming=True)
assert [row["label"] for row in streamed] == [3, 1, 2]
"""
    ask(program)
