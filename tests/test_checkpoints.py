"""Checkpoints: whatever happens to one, it is found and named, and the newest whole one is taken."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from conftest import tiny_arguments
from processes import run_in_a_fork

from modeling_resnet50.errors import UserError
from modeling_resnet50.plan import kept_checkpoints
from modeling_resnet50.recipe import Recipe
from modeling_resnet50.training.manifest import NAME, damage, seal
from modeling_resnet50.training.run_folder import RunFolder


# For a recipe with an average of the weights.
FILES = [
    "average.safetensors", "manifest.json", "metrics.jsonl", "model.safetensors", "optimizer.pt", "random_states.pt",
    "recipe.yaml", "state.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory, request):
    """A run of three epochs with a checkpoint after each."""
    return {}


@pytest.fixture
def run(finished, image_folder, tmp_path, train):
    """A copy of that run, to be damaged, and its command line."""
    fields = {"num_train_epochs": 3, "checkpoint_every_epochs": 1, "ema_decay": 0.5}
    if not finished:
        shutil.copytree(image_folder, finished.setdefault("images", tmp_path / "kept" / "images"))
        train(tiny_arguments(finished["images"], tmp_path / "kept" / "run", **fields))
        finished["run"] = tmp_path / "kept" / "run"
    shutil.copytree(finished["run"], tmp_path / "run")
    return RunFolder(Recipe(output_dir=str(tmp_path / "run"))), tiny_arguments(
        finished["images"], tmp_path / "run", **fields
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
        folder.checkpoint_to_resume(Recipe(output_dir=str(folder.path), resume_from_checkpoint=str(newest)))


def test_without_a_whole_checkpoint_the_reasons_are_given(run):
    folder, _ = run
    for path in folder.checkpoints.iterdir():
        truncate(path / "optimizer.pt")
    with pytest.raises(UserError, match=r"no whole checkpoint in .*(optimizer.pt has .*){3}"):
        folder.checkpoint_to_resume(Recipe(output_dir=str(folder.path), resume_from_checkpoint="latest"))


def test_a_run_resumed_past_a_damaged_checkpoint_ends_as_it_would_have(run, finished, train, capsys):
    folder, arguments = run
    flip_a_bit(folder.checkpoints / "epoch-0003" / "model.safetensors")
    shutil.rmtree(folder.final)
    train([*arguments, "--resume_from_checkpoint", "latest"])
    assert "epoch-0003 is damaged (model.safetensors is not what was written) and was passed over" in (
        capsys.readouterr().out
    )
    for model in ("final", "final_average"):
        one, other = (path / model / "model.safetensors" for path in (folder.path, finished["run"]))
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
    settings = {"num_train_epochs": 5, "checkpoint_every_epochs": 1, **fields}
    train(tiny_arguments(image_folder, tmp_path / "run", **settings))
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [f"epoch-{epoch:04d}" for epoch in kept]
    assert kept_checkpoints(Recipe(**settings, warmup_epochs=0.0)) == kept
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


def test_keep_every_epochs_alone_is_refused():
    with pytest.raises(UserError, match="keep_every_epochs says what to keep beside keep_last: set that too"):
        Recipe(keep_every_epochs=5)
