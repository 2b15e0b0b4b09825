"""Checkpoints: whatever happens to one, it is found and named, and the newest whole one is taken."""

import json
import re
import resource
import shutil
import signal
from pathlib import Path

import pytest
import timm.optim
import torch
from processes import run_in_a_fork
from safetensors.torch import load_file
from shared import tiny_arguments

from modeling_resnet50.files import put_back
from modeling_resnet50.plan import kept_checkpoints
from modeling_resnet50.training.checkpoint import CheckpointWriter
from modeling_resnet50.training.manifest import NAME, damage, seal
from modeling_resnet50.training.progress import read_state
from modeling_resnet50.training.run_folder import RunFolder
from resnet50_recipe.errors import UserError
from resnet50_recipe.training_arguments import TrainingArguments


# For a recipe with an average of the weights.
FILES = [
    "average.safetensors", "manifest.json", "metrics.jsonl", "model.safetensors", "optimizer.pt", "random_states.pt",
    "recipe.yaml", "state.json",
]  # fmt: skip


FIELDS = {"num_train_epochs": 3, "checkpoint_every_epochs": 1, "ema_decay": 0.5}


@pytest.fixture
def finished(trained):
    """A run of three epochs with a checkpoint after each."""
    return trained(**FIELDS)


@pytest.fixture
def run(finished, tmp_path):
    """A copy of that run, to be damaged, and its command line."""
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    return RunFolder(TrainingArguments(output_dir=str(path))), tiny_arguments(
        finished.parent / "images", path, **FIELDS
    )


def resumed_from(folder: RunFolder) -> tuple[str, list[str]]:
    path, passed_over = folder.newest_whole_checkpoint()
    return path.name, passed_over


def delete(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap_with_an_older_one(path: Path) -> None:
    shutil.copy(path.parents[1] / "epoch-0001" / path.name, path)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def test_a_checkpoint_has_these_files(run):
    folder, _ = run
    assert sorted(path.name for path in (folder.checkpoints / "epoch-0003").iterdir()) == FILES
    manifest = json.loads((folder.checkpoints / "epoch-0003" / NAME).read_text())
    assert (manifest["epoch"], manifest["step"]) == (3, 9)


@pytest.mark.parametrize("damaging", [delete, empty, truncate, flip_a_bit, swap_with_an_older_one, lengthen])
@pytest.mark.parametrize("name", FILES)
def test_any_damage_to_any_file_is_named_and_the_checkpoint_before_is_taken(name, damaging, run):
    folder, _ = run
    newest = folder.checkpoints / "epoch-0003"
    assert resumed_from(folder) == ("epoch-0003", [])
    before = (newest / name).read_bytes()
    damaging(newest / name)
    if name in ("random_states.pt", "recipe.yaml") and damaging is swap_with_an_older_one:
        assert (newest / name).read_bytes() == before  # nothing drew a random number, and the recipe is the same
        return
    taken, (remark,) = resumed_from(folder)
    assert taken == "epoch-0002"
    assert remark.startswith(f"{newest} is damaged (")
    # The manifest of another step is whole in itself: then it is the files that are not what was written.
    swapped_manifest = name == NAME and damaging is swap_with_an_older_one
    assert (name in remark) is not swapped_manifest
    with pytest.raises(UserError, match=r"epoch-0003: .*With `latest`, the newest whole one is taken"):
        folder.checkpoint_to_resume(TrainingArguments(output_dir=str(folder.path), resume_from_checkpoint=str(newest)))


def test_without_a_whole_checkpoint_the_reasons_are_given(run):
    folder, _ = run
    for path in folder.checkpoints.iterdir():
        truncate(path / "optimizer.pt")
    with pytest.raises(UserError, match=r"no whole checkpoint in .*(optimizer.pt has .*){3}"):
        folder.checkpoint_to_resume(TrainingArguments(output_dir=str(folder.path), resume_from_checkpoint="latest"))


def test_a_run_resumed_past_a_damaged_checkpoint_ends_as_it_would_have(run, finished, train, capsys):
    folder, arguments = run
    flip_a_bit(folder.checkpoints / "epoch-0003" / "model.safetensors")
    shutil.rmtree(folder.final)
    train([*arguments, "--resume_from_checkpoint", "latest"])
    assert "epoch-0003 is damaged (model.safetensors is not what was written) and was passed over" in (
        capsys.readouterr().out
    )
    for model in ("final", "final_average"):
        one, other = (path / model / "model.safetensors" for path in (folder.path, finished))
        assert one.read_bytes() == other.read_bytes()
    assert resumed_from(folder) == ("epoch-0003", [])


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"keep_last": 2}, [4, 5]),
        ({"keep_last": 1, "keep_every_epochs": 2}, [2, 4, 5]),
        ({"keep_last": 9}, [1, 2, 3, 4, 5]),
    ],
)
def test_old_checkpoints_go_and_best_and_final_stay(fields, kept, image_folder, tmp_path, train):
    settings = {"num_train_epochs": 5, "checkpoint_every_epochs": 1, "total_train_batch_size": 24, **fields}
    train(tiny_arguments(image_folder, tmp_path / "run", **settings))
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [f"epoch-{epoch:04d}" for epoch in kept]
    assert kept_checkpoints(TrainingArguments(**settings, warmup_epochs=0.0)) == kept
    assert (tmp_path / "run" / "best").is_dir()
    assert (tmp_path / "run" / "final").is_dir()


def test_killed_while_sealing_it_is_whole_or_not_taken(tmp_path):
    for kill_at in range(1, 40):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        for name in ("a", "b", "c"):
            (folder / name).write_bytes(name.encode() * 1000)
        code = run_in_a_fork(lambda: seal(folder, step=1), kill_at=kill_at)  # noqa: B023
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert damage(folder) in (None, f"{NAME} is missing: it was not finished")
    assert kill_at > 8
    assert damage(folder) is None


def rewritten(checkpoint: Path, change) -> Path:
    """The same checkpoint with another state.json in it, sealed again."""
    file = checkpoint / "state.json"
    state = json.loads(file.read_text())
    change(state)
    file.write_text(json.dumps(state))
    manifest = json.loads((checkpoint / NAME).read_text())
    seal(checkpoint, **{name: manifest[name] for name in ("epoch", "images", "step")})
    return checkpoint


def without_a_number(state: dict) -> None:
    """As it was before checkpoints had format numbers."""
    del state["format"]
    state["layout"] = state.pop("setup")


def test_a_checkpoint_of_before_there_were_format_numbers_opens_and_goes_on(image_folder, tmp_path, train, capsys):
    fields = {"num_train_epochs": 2, "total_train_batch_size": 4, "checkpoint_every_steps": 2}
    train(tiny_arguments(image_folder, tmp_path / "whole", **fields))
    checkpoint = tmp_path / "whole" / "checkpoints" / "epoch-0001-batch-000002"
    old = rewritten(Path(shutil.copytree(checkpoint, tmp_path / checkpoint.name)), without_a_number)
    assert json.loads((old / "state.json").read_text()).keys() == {"progress", "metrics", "scaler", "layout"}
    state = read_state(old)
    assert state == json.loads((checkpoint / "state.json").read_text())
    assert state["format"] == 1
    assert state["progress"].keys() == {"epoch", "images", "step", "skipped_steps", "left_out", "layout"}
    assert state["setup"] == {"processes": 1, "accumulation steps": 1, "precision": "no"}
    assert state["metrics"][0].keys() == {"loss", "images_with_loss", "correct", "images", "bad_images", "seconds"}
    capsys.readouterr()
    train(tiny_arguments(image_folder, tmp_path / "resumed", **fields, resume_from_checkpoint=old))
    assert "1 epochs, 8 images of the next, 8 steps done" in capsys.readouterr().out
    ends = [(tmp_path / run / "final" / "model.safetensors").read_bytes() for run in ("whole", "resumed")]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(format=2), "is of format 2, and this version reads those up to 1: a newer one"),
        (lambda state: state.update(format="1"), "is of format 1, and this version reads"),
        (lambda state: state.pop("scaler"), "in its state.json, scaler is missing. Go on with the version that wrote"),
        (lambda state: (without_a_number(state), state.pop("layout")), "setup is missing, setup.processes is missing"),
        (lambda state: state.update(kept=1), "kept is unknown"),
        (lambda state: state["progress"].pop("left_out"), "progress.left_out is missing"),
        (lambda state: state["progress"].update(left_out_of=[1]), "progress.left_out_of is unknown"),
        (lambda state: state["setup"].pop("precision"), "setup.precision is missing"),
        (lambda state: state.update(metrics=[{"loss": 1.0}]), "metrics.images_with_loss is missing"),
        (lambda state: state.update(progress=None), "progress.epoch is missing"),
    ],
)
def test_a_checkpoint_of_another_version_is_refused_before_anything_happens(change, message, run, train):
    folder, arguments = run
    rewritten(folder.checkpoints / "epoch-0003", change)
    before = sorted(path.name for path in folder.path.iterdir())
    with pytest.raises(UserError, match=f"epoch-0003 .*{re.escape(message)}"):
        train([*arguments, "--resume_from_checkpoint", "latest"])
    assert sorted(path.name for path in folder.path.iterdir()) == before


def test_keep_every_epochs_alone_is_refused():
    with pytest.raises(UserError, match="keep_every_epochs says what to keep beside keep_last: set that too"):
        TrainingArguments(keep_every_epochs=5)


# Checkpoints that cannot be written, and by the clock


def test_a_checkpoint_that_cannot_be_written_is_reported_and_tried_again_and_harms_nothing(
    image_folder, tmp_path, train, monkeypatch, capsys
):
    """A limit on the size of files, as a quota or a full disk would be, for the second checkpoint."""
    settings = {"total_train_batch_size": 4, "num_train_epochs": 3, "checkpoint_every_epochs": 1}
    monkeypatch.setattr("modeling_resnet50.training.checkpoint.RETRY_AFTER", 0)
    original = CheckpointWriter._write
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(self, target, contents, metrics):
        if target.name != "epoch-0002":
            return original(self, target, contents, metrics)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            return original(self, target, contents, metrics)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(CheckpointWriter, "_write", limited)
    train(tiny_arguments(image_folder, tmp_path / "run", **settings))
    out = capsys.readouterr().out
    assert "could not write checkpoint epoch-0002 (" in out
    assert "File too large" in out
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    first, next_try, last = names
    assert [first, last] == ["epoch-0001", "epoch-0003"]
    assert re.fullmatch(r"epoch-0002-batch-00000\d", next_try)  # as soon as the writer has said what came of the first
    assert all(damage(tmp_path / "run" / "checkpoints" / name) is None for name in names)


def test_checkpoints_come_by_the_clock(image_folder, tmp_path, train):
    settings = {"total_train_batch_size": 4, "num_train_epochs": 1, "checkpoint_every_minutes": 1e-9}
    train(tiny_arguments(image_folder, tmp_path / "run", **settings, warmup_epochs=0))
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 7  # after each of six steps, and the end


def test_nothing_in_a_checkpoint_needs_pickle(run):
    folder, _ = run
    for path in (folder.checkpoints / "epoch-0003").iterdir():
        if path.suffix == ".pt":
            torch.load(path, weights_only=True)
        else:
            assert path.suffix in (".safetensors", ".json", ".jsonl", ".yaml")


# bitsandbytes' and apex's need a GPU, and AdaHessian a second derivative, which the loop does not compute.
OPTIMIZERS = [n for n in timm.optim.list_optimizers() if not n.startswith(("bnb", "fused")) and n != "adahessian"]


@pytest.mark.filterwarnings("ignore:It is highly recommended to have 'opt_einsum'")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_any_optimizer_comes_back(name, tmp_path):
    parameter = torch.nn.Parameter(torch.ones(4, 3))
    optimizer = timm.optim.create_optimizer_v2([parameter], opt=name, lr=0.1)
    parameter.grad = torch.full_like(parameter, 0.1)
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    optimizer.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))


# Resumed by another recipe, or by another number of processes


def test_a_changed_recipe_is_shown_and_has_to_be_allowed(run, train, capsys):
    folder, arguments = run
    changed = [*arguments, "--resume_from_checkpoint", "latest", "--weight_decay", "0.5", "--num_train_epochs", "4"]
    with pytest.raises(
        UserError, match=r"num_train_epochs: 3 -> 4; weight_decay: 0.0001 -> 0.5\. .*allow_recipe_change"
    ):
        train(changed)
    train([*changed, "--allow_recipe_change", "true"])
    out = capsys.readouterr().out
    assert "changed in the recipe: weight_decay: 0.0001 -> 0.5" in out
    newest, _ = folder.newest_whole_checkpoint()
    assert newest.name == "epoch-0004"
    groups = torch.load(newest / "optimizer.pt", weights_only=True)["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.5}


def test_fields_that_change_no_result_may_change(run, train):
    _, arguments = run
    train([*arguments, "--resume_from_checkpoint", "latest", "--keep_last", "1", "--dataloader_num_workers", "1"])


def test_killed_between_two_renames_the_old_checkpoint_is_still_found(run):
    folder, _ = run
    (folder.checkpoints / "epoch-0003").rename(folder.checkpoints / ".epoch-0003.old")
    assert folder.newest_whole_checkpoint()[0].name == ".epoch-0003.old"
    put_back(folder.checkpoints / "epoch-0003")
    assert folder.newest_whole_checkpoint()[0].name == "epoch-0003"


@pytest.mark.parametrize("metric", ["val_top1", "val_top5", "val_loss"])
def test_best_is_best_by_the_metric_that_is_asked_for(metric, image_folder, tmp_path, train, monkeypatch):
    values = iter([0.5, 0.2, 0.9, float("nan")])

    def evaluated(*_, **__):
        value = next(values)
        return {"val_loss": value, "val_top1": value, "val_top5": value}

    monkeypatch.setattr(train.script, "evaluate_model", evaluated)
    settings = {"num_train_epochs": 4, "metric_for_best_model": metric, "checkpoint_every_epochs": 1}
    train(tiny_arguments(image_folder, tmp_path / "run", **settings, total_train_batch_size=24))
    best, epochs = load_file(tmp_path / "run" / "best" / "model.safetensors"), (1, 2, 3, 4)
    same = [
        epoch
        for epoch in epochs
        if torch.equal(
            best["conv1.weight"],
            load_file(tmp_path / "run" / "checkpoints" / f"epoch-{epoch:04d}" / "model.safetensors")["conv1.weight"],
        )
    ]
    assert same == [2 if metric == "val_loss" else 3]
