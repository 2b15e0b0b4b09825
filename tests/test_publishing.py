"""A run that publishes while it trains: what arrives on the Hub, how it opens, and what a bad network changes."""

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import datasets
import pytest
import torch
from fork_server import read_again
from hub_server import HubServer
from safetensors.torch import load, load_file
from shared import run_python, tiny_arguments, write_shards
from test_resuming import outcome
from transformers import AutoModelForImageClassification

from modeling_resnet50.hub.publishing import Publisher, model_files
from modeling_resnet50.hub.upload import Uploader, files_of, read_records, waiting
from modeling_resnet50.training.manifest import seal
from modeling_resnet50.training.progress import Progress
from modeling_resnet50.training.run_folder import RunFolder, open_run
from resnet50_cli import main
from resnet50_recipe.errors import UserError


SETTINGS = {"num_train_epochs": 3, "checkpoint_every_epochs": 1, "ema_decay": 0.5}
# Which timm has too
RESNET18 = {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [8, 8, 16, 16]}
TOKEN = "hf_ann"
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


@pytest.fixture
def xet() -> bool:
    """How large files travel, as they do for those who leave the client as it is."""
    return True


@pytest.fixture
def hub(tmp_path, monkeypatch, xet):
    """For the uploader, which is a process of its own and takes its environment from this one."""
    with HubServer() as server:
        for name, value in server.environment(tmp_path / "home", TOKEN, xet).items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def hub_here(hub, monkeypatch):
    """For the libraries of this process too."""
    read_again()
    monkeypatch.setattr(datasets.config, "USE_PARQUET_EXPORT", False)  # which it would ask another server for
    yield hub
    monkeypatch.undo()
    read_again()


def publishing(image_folder, run: Path, **settings) -> list[str]:
    settings = {**SETTINGS, "hub_model_id": "ann/net", "push_to_hub": "true", **settings}
    return tiny_arguments(image_folder, run, **settings)


def assert_holds(files: dict[str, bytes], folder: Path) -> None:
    expected = {name: path.read_bytes() for name, path in files_of(folder).items()}
    logs = {name for name in files if name.startswith("runs/")}
    assert {
        name: content for name, content in files.items() if name not in logs and name != ".gitattributes"
    } == expected


@pytest.mark.parametrize("xet", [False, True], ids=["lfs", "xet"])
def test_a_run_arrives_with_its_revisions_tag_and_logs_and_opens_everywhere(xet, hub, image_folder, tmp_path, train):
    run = tmp_path / "run"
    settings = {"hub_strategy": "all_checkpoints", "hub_final_tag": "v1.0", "hub_private_repo": "true",
                "num_train_epochs": 2, "report_to": "tensorboard",
                "config_overrides": json.dumps(RESNET18)}  # fmt: skip
    train(publishing(image_folder, run, **settings))
    repo = hub.repos["ann/net"]
    assert repo.private
    assert_holds(repo.files, run / "best")
    assert_holds(repo.at("final").files, run / "final")
    assert repo.tags == {"v1.0": repo.branches["final"]}
    assert sorted(repo.branches) == ["epoch-0001", "epoch-0002", "final", "main"]
    assert [name for name in repo.files if "tfevents" in name]
    assert waiting(run / "hub") == []
    for epoch in (1, 2):
        published = load(repo.at(f"epoch-{epoch:04d}").files["model.safetensors"])
        trained = load_file(run / "checkpoints" / f"epoch-{epoch:04d}" / "model.safetensors")
        assert all(torch.equal(published[name], trained[name]) for name in trained)
    every_file = {name for branch in repo.branches for name in repo.at(branch).files}
    assert not [name for name in every_file if name.endswith((".pt", ".pth", ".bin", ".pkl"))]

    model = AutoModelForImageClassification.from_pretrained(run / "best").eval()
    pixel_values = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.save((pixel_values, model(pixel_values).logits), tmp_path / "reference.pt")
    program = f"""
import timm, torch
from huggingface_hub import hf_hub_download
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification
pixel_values, logits = torch.load({str(tmp_path / "reference.pt")!r})
with torch.no_grad():
    model = AutoModelForImageClassification.from_pretrained("ann/net", trust_remote_code=True).eval()
    assert torch.equal(model(pixel_values).logits, logits)
    features = AutoModel.from_pretrained("ann/net", trust_remote_code=True).eval()(pixel_values).pooler_output
    assert torch.equal(model.fc(features.flatten(1)), logits)
    assert torch.equal(timm.create_model("hf-hub:ann/net", pretrained=True).eval()(pixel_values), logits)
    AutoImageProcessor.from_pretrained("ann/net", revision="v1.0")
path = hf_hub_download("ann/net", "model.safetensors", revision="epoch-0002")
assert open(path, "rb").read() == open({str(tmp_path / "epoch-0002")!r}, "rb").read()
"""
    (tmp_path / "epoch-0002").write_bytes(repo.at("epoch-0002").files["model.safetensors"])
    shutil.rmtree(tmp_path / "home", ignore_errors=True)
    result = run_python(["-c", program])
    assert result.returncode == 0, result.stderr
    sent_by = {True: "xorb-grants", False: "info"}
    assert {way for way, word in sent_by.items() for _, path in hub.requests if word in path.split("/")} == {xet}
    read = [path for _, path in hub.requests if "/reconstructions/" in path]
    assert len(read) == len(set(read)) == (2 if xet else 0)  # main's weights, by three libraries, and epoch-0002's


def test_a_revision_waits_before_its_checkpoint_stands(hub, image_folder, tmp_path, train, monkeypatch):
    """Otherwise a run that is killed in between would go on after that epoch, and nobody would ever publish it."""

    def killed(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("modeling_resnet50.training.checkpoint.CheckpointWriter.save", killed)
    with pytest.raises(KeyboardInterrupt):
        train(publishing(image_folder, tmp_path / "run", hub_strategy="all_checkpoints"))
    drain(tmp_path / "run")
    assert "epoch-0001" in hub.repos["ann/net"].branches


@pytest.mark.parametrize(
    ("strategy", "titles"),
    [("end", 1), ("best", None), ("every_checkpoint", None)],
)
def test_main_is_best_whatever_the_strategy(strategy, titles, hub, image_folder, tmp_path, train, capsys):
    run = tmp_path / "run"
    train(publishing(image_folder, run, hub_strategy=strategy, num_train_epochs=2))
    repo = hub.repos["ann/net"]
    assert_holds(repo.files, run / "best")
    assert sorted(repo.branches) == ["main"]
    assert titles is None or len(repo.commits) == 1 + titles
    assert "published: ann/net" in capsys.readouterr().out


def test_a_hub_that_fails_all_the_time_changes_nothing_and_publish_finishes_it(
    hub, image_folder, tmp_path, train, trained, capsys
):
    alone = trained(**SETTINGS)
    hub.fail_next("POST", "", 503, times=10_000)
    run = tmp_path / "run"
    with pytest.raises(SystemExit) as exit_:
        train(publishing(image_folder, run, hub_wait_minutes=0.001))
    assert exit_.value.code == 69
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("trained, not yet published (")
    assert last.endswith(f"run `resnet50 publish {run}`")
    assert outcome(run) == outcome(alone)
    assert json.loads((run / "status.json").read_text())["status"] == "finished"
    assert waiting(run / "hub")
    hub.faults.clear()
    main(["publish", str(run)])
    assert_holds(hub.repos["ann/net"].files, run / "best")
    assert waiting(run / "hub") == []
    main(["publish", str(run)])
    assert "was there already" in capsys.readouterr().out
    main(["publish", str(run), "--to", "ann/other"])
    card = hub.repos["ann/other"].files["README.md"].decode()
    assert 'from_pretrained("ann/other"' in card
    assert "ann/net" not in card
    assert len([c for c in hub.repos["ann/net"].commits if c.title != "initial commit"]) == 1


@pytest.mark.parametrize(
    ("repo_id", "token", "message"),
    [
        ("bob/net", TOKEN, r"cannot push to bob/net: this token may not write to bob/net \(403\)"),
        ("ann/net", "", "cannot push to ann/net: the Hub does not know who this is.*hf auth login"),
    ],
)
def test_who_may_not_push_hears_of_it_before_training(
    repo_id, token, message, hub, image_folder, tmp_path, train, monkeypatch
):
    hub.add_repo("bob/net")
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("HF_TOKEN_PATH", os.devnull)
    with pytest.raises(UserError, match=message):
        train(publishing(image_folder, tmp_path / "run", hub_model_id=repo_id))
    assert not (tmp_path / "run").exists()


@pytest.fixture
def check_access(hub, trained, tmp_path, capsys):
    """Returns a function: what a run that would push to ann/net says before it begins, of so many epochs' recipe."""
    _, recipe = open_run(trained(**SETTINGS))
    pushes = replace(recipe, output_dir=str(tmp_path / "run"), push_to_hub=True, hub_model_id="ann/net")

    def check(is_new: bool = True, **changes) -> list[str]:
        said = []
        changed = replace(pushes, **changes)
        Publisher(changed, RunFolder(changed), is_main_process=True, report=said.append).check_access(is_new)
        return said

    return check


def test_a_model_of_another_recipe_is_replaced_only_if_that_is_asked_for(hub, trained, check_access, tmp_path):
    repo = hub.add_folder("ann/net", trained(**SETTINGS) / "best")
    assert check_access() == []  # the same run, from its beginning, as on a machine that has lost it
    with pytest.raises(UserError, match=r"its main branch holds another model \(seed: 42 -> 7\).* --hub_overwrite"):
        check_access(seed=7)
    with pytest.raises(UserError, match=r"another model \(seed: 42 -> 7\)"):
        check_access(seed=7, is_new=False)
    assert check_access(seed=7, hub_overwrite=True) == []
    (tmp_path / "run" / "hub").mkdir(parents=True)
    record = {"repo_id": "ann/net", "commit": repo.branches["main"], "files": []}
    (tmp_path / "run" / "hub" / "published.jsonl").write_text(json.dumps(record) + "\n")
    assert check_access(seed=7) == []  # it has sent that itself


@pytest.mark.parametrize(
    ("recipe", "words"), [({}, "of no recipe"), ({"recipe.yaml": b"- ["}, "of no readable recipe")]
)
def test_a_model_of_no_recipe_is_not_replaced_before_anything_is_written(
    recipe, words, hub, image_folder, tmp_path, train
):
    hub.add_repo("ann/net", {"config.json": b"{}", **recipe})
    with pytest.raises(UserError, match=rf"cannot push to ann/net: its main branch holds another model \({words}\)"):
        train(publishing(image_folder, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_repository_without_a_model_and_one_that_was_renamed_are_published_to(hub, check_access):
    hub.add_repo("ann/renamed", {"README.md": b"to come"})
    hub.renamed["ann/net"] = "ann/renamed"
    assert check_access() == ["ann/net is called ann/renamed on the Hub now, and published there"]
    assert hub.repos.keys() == {"ann/renamed"}


def test_the_backup_of_another_run_is_gone_on_from_and_never_mixed_with_a_new_run(hub, check_access):
    """The newest checkpoint is by its epoch, so another run's would be taken for this one's."""
    repo = hub.add_repo("ann/backup", {"checkpoints/epoch-0009/state.json": b"{}"})
    backup = {"hub_backup_id": "ann/backup"}
    with pytest.raises(UserError, match=r"cannot push to ann/backup: it holds checkpoints of another run\."):
        check_access(**backup)
    assert check_access(**backup, is_new=False) == [
        "ann/backup is public, so that everybody reads the backup: make it private on the Hub"
    ]
    repo.private = True
    assert check_access(**backup, is_new=False) == []


def test_a_hub_that_does_not_answer_does_not_hold_up_the_start(
    hub, image_folder, tmp_path, train, monkeypatch, capsys
):
    monkeypatch.setattr("modeling_resnet50.hub.publishing.SECONDS_FOR_THE_FIRST_ANSWER", 4.0)
    hub.fail_next("POST", "/api/repos/create", "hang")
    train(publishing(image_folder, tmp_path / "run", num_train_epochs=1))
    out = capsys.readouterr().out
    assert "the Hub does not answer (no answer within 4 s): it is tried again while training goes on" in out
    assert_holds(hub.repos["ann/net"].files, tmp_path / "run" / "best")


def test_no_token_is_anywhere(hub, image_folder, tmp_path, train, monkeypatch, capfd):
    """Given as a field of the recipe, with everything logged that there is, and failures on the way."""
    token = "hf_canary5d1c0ffee"
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("HF_DEBUG", "1")
    monkeypatch.setenv("HF_HUB_VERBOSITY", "debug")
    hub.fail_next("POST", "/commit/", 500)
    hub.fail_next("POST", "/tag/", 403)
    run, name = tmp_path / "run", token.removeprefix("hf_")
    settings = {"hub_model_id": f"{name}/net", "hub_backup_id": f"{name}/backup", "hub_final_tag": "v1",
                "report_to": "tensorboard"}  # fmt: skip
    with pytest.raises(SystemExit):
        train(publishing(image_folder, run, hub_token=token, **settings))
    captured = capfd.readouterr()
    assert "not yet published" in captured.out
    assert token not in captured.out + captured.err
    written = [path for path in run.rglob("*") if path.is_file()]
    assert {"recipe.yaml", "log.txt", "upload.json"} <= {path.name for path in written}
    assert [path for path in written if token.encode() in path.read_bytes()] == []
    for repo in hub.repos.values():
        assert not [path for path, content in repo.files.items() if token.encode() in content]


def test_a_bare_machine_goes_on_from_the_backup(hub_here, image_folder, tmp_path, train, trained, monkeypatch, capsys):
    settings = {**SETTINGS, "num_train_epochs": 4, "total_train_batch_size": 4}
    undisturbed = outcome(trained(**settings))
    # Stopped in its third epoch, as far as the backup knows.
    backed_up = {**settings, "hub_backup_id": "ann/backup", "checkpoint_every_steps": 4}
    with monkeypatch.context() as until:
        until.setattr("modeling_resnet50.training.supervision.Supervisor.batch_done", stop_after(24))
        with pytest.raises(SystemExit):
            train(tiny_arguments(image_folder, tmp_path / "lost", **backed_up))
    main(["publish", str(tmp_path / "lost" / "best"), "--to", "ann/elsewhere"])
    drain(tmp_path / "lost")
    backup = hub_here.repos["ann/backup"]
    assert backup.private
    newest, _ = open_run(tmp_path / "lost")[0].newest_whole_checkpoint()
    assert {name.split("/")[1] for name in backup.files if name.startswith("checkpoints/")} == {newest.name}
    shutil.rmtree(tmp_path / "lost")
    head = backup.branches["main"]
    for number, wanted in enumerate(("hub:", "auto")):
        backup.branches["main"] = head
        found = tmp_path / f"found-{number}"
        resume = {"resume_from_checkpoint": wanted, "hub_backup_id": "ann/backup"}
        train(tiny_arguments(image_folder, found, **settings, **resume))
        assert f"resumed from {found}/checkpoints/{newest.name}: 2 epochs, " in capsys.readouterr().out
        files = outcome(found)
        for name in ("best", "final", "final_average", "checkpoints/epoch-0004"):
            assert files[f"{name}/model.safetensors"] == undisturbed[f"{name}/model.safetensors"]
        assert files["metrics"] == undisturbed["metrics"]


def stop_after(batches: int):
    def batch_done(self):
        self._batches += 1
        if self._batches == batches:
            self._wish = 15

    return batch_done


def drain(run: Path) -> None:
    uploader = Uploader(run / "hub", 60)
    uploader.nothing_more_comes()
    assert uploader.run() == 0


def sealed_backup(folder: Path, state: dict) -> dict[str, bytes]:
    """The files of a backup whose only checkpoint holds no more than that."""
    checkpoint = folder / "checkpoints" / "epoch-0001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text(json.dumps(state))
    seal(checkpoint, epoch=1)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in checkpoint.iterdir()}


def test_a_backup_that_is_not_there_is_said_and_auto_does_without(hub, tmp_path):
    hub.add_repo("ann/empty")
    hub.add_repo("ann/damaged", {"checkpoints/epoch-0001/state.json": b"{}"})
    hub.add_repo("ann/newer", sealed_backup(tmp_path / "newer", {"format": 2}))
    setup = {"processes": 1, "accumulation steps": 1, "precision": "no"}
    numberless = {"progress": asdict(Progress(epoch=1)), "metrics": [None], "scaler": None, "layout": setup}
    hub.add_repo("ann/numberless", sealed_backup(tmp_path / "numberless", numberless))
    messages = {
        "hub:ann/newer": "epoch-0001 is of format 2, and this version reads those up to 1",
        "hub:": "resume_from_checkpoint hub: needs a repository",
        "hub:ann/nothing": "ann/nothing is not there, or this token may not see it",
        "hub:ann/empty": "ann/empty holds no checkpoint",
        "hub:ann/damaged": "epoch-0001 of ann/damaged is damaged: manifest.json is missing",
    }
    program = f"""
import pytest
from resnet50_recipe.errors import UserError
from modeling_resnet50.hub.publishing import fetch_backup
from resnet50_recipe.training_arguments import TrainingArguments
from modeling_resnet50.training.progress import read_state
from modeling_resnet50.training.run_folder import RunFolder
settings = {{"output_dir": {str(tmp_path / "run")!r}}}
for wanted, message in {messages!r}.items():
    recipe = TrainingArguments(**settings, resume_from_checkpoint=wanted)
    with pytest.raises(UserError, match=message):
        fetch_backup(recipe, RunFolder(recipe))
for repo_id in ("ann/nothing", "ann/empty"):
    recipe = TrainingArguments(**settings, resume_from_checkpoint="auto", hub_backup_id=repo_id)
    assert fetch_backup(recipe, RunFolder(recipe)) == recipe
assert not RunFolder(recipe).checkpoints.exists()
recipe = TrainingArguments(**settings, resume_from_checkpoint="hub:ann/numberless")
assert fetch_backup(recipe, RunFolder(recipe)).resume_from_checkpoint == "latest"
assert read_state(RunFolder(recipe).checkpoints / "epoch-0001")["setup"] == {setup!r}
"""
    result = run_python(["-c", program])
    assert result.returncode == 0, result.stderr


# By hand


def test_dry_run_shows_the_tree_and_sends_nothing(hub, trained):
    run = trained(**SETTINGS)
    files = files_of(run / "best")
    same = files["config.json"].read_bytes()
    hub.add_repo("ann/net", {"config.json": same, "README.md": b"old", "by-hand.md": b""})
    program = f"from resnet50_cli import main; main(['publish', {str(run)!r}, '--to', 'ann/net', '--dry_run'])"
    before = len(hub.repos["ann/net"].commits)
    result = run_python(["-c", program])
    assert result.returncode == 0, result.stderr
    lines = [line.split()[:2] for line in result.stdout.splitlines() if line.startswith("  ")]
    marks = {name: mark for mark, name in lines}
    assert marks.pop("config.json") == "="
    assert marks.pop("README.md") == "~"
    assert set(marks.values()) == {"+"}
    assert {*marks, "config.json", "README.md"} == set(files)
    assert "by-hand.md" not in result.stdout
    assert len(hub.repos["ann/net"].commits) == before


def test_without_a_network_it_is_said_in_one_line(trained):
    program = """
import sys
import huggingface_hub.utils._http as http
def sleep(seconds):
    raise SystemExit("tried again")
http.time.sleep = sleep  # between the client's own tries
from resnet50_cli import main
main(sys.argv[1:])
"""
    nowhere = {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "HF_TOKEN": TOKEN,
    }
    publish = ["publish", str(trained(**SETTINGS)), "--to", "ann/net", "--dry_run"]
    result = run_python(["-c", program, *publish], **nowhere)
    assert result.returncode == 2
    assert "error: the Hub cannot be reached (" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Retrying" not in result.stderr


def test_a_pickle_is_not_published(hub, trained, tmp_path, capsys):
    shutil.copytree(trained(**SETTINGS), tmp_path / "run")
    torch.save({}, tmp_path / "run" / "best" / "optimizer.pt")
    with pytest.raises(SystemExit) as exit_:
        main(["publish", str(tmp_path / "run"), "--to", "ann/net"])
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert "optimizer.pt is a pickle" in said
    assert f"resnet50 import {tmp_path / 'run' / 'best'} OUT" in said
    assert hub.repos == {}


def test_a_clone_and_a_download_are_published_without_what_their_tools_keep_there(tmp_path):
    names = ["config.json", ".gitattributes", "runs/events", ".git/HEAD", "below/.git/old.bin"]
    for name in [*names, ".cache/huggingface/download/config.json.metadata"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    assert model_files(tmp_path).keys() == {"config.json", ".gitattributes", "runs/events"}


@pytest.mark.parametrize("name", ["net", "ann/net/x", "ann/née"])
def test_a_name_that_may_be_somebody_elses_or_nobodys_is_refused(name, hub, trained, image_folder, capsys):
    for command in (["publish", str(trained(**SETTINGS)), "--to", name], ["prepare", "push", str(image_folder), name]):
        with pytest.raises(SystemExit) as exit_:
            main(command)
        assert exit_.value.code == 2
        assert "user/name, of letters, digits, '-', '_' and '.'" in capsys.readouterr().err
    assert hub.requests == []


def test_a_folder_that_holds_no_model_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["publish", str(tmp_path), "--to", "ann/net"])
    assert "holds no model: no config.json in it" in capsys.readouterr().err


# Data from the same Hub


def test_data_from_the_hub_feeds_training_and_evaluation(hub_here, image_folder, tmp_path, train, capsys):
    hub_here.add_folder("ann/data", write_shards(image_folder, tmp_path / "data"), repo_type="dataset")
    run = tmp_path / "run"
    train(tiny_arguments("ann/data", run, num_train_epochs=1))
    assert "ann/data: 24 training and 15 validation images, 3 classes" in capsys.readouterr().out
    row = json.loads((run / "metrics.jsonl").read_text())
    main(["evaluate", str(run / "final"), "--dataset", "ann/data", "--json"])
    assert json.loads(capsys.readouterr().out)["top1"] == pytest.approx(row["val_top1"])
    assert read_records(run / "hub") == []
