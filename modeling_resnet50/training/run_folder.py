"""
The folder of a run, and getting back into it.

    recipe.yaml  metrics.jsonl
    environment.json           for each start of the run: machine, versions, commit
    status.json                running, stopped, failed or finished; since when, at which step, and why
    nonfinite.jsonl            if numbers went wrong: when, where, with which images
    first_batch.png            the first training batch, as the network sees it
    training_curves.png        loss, top-1, learning rate and images per second, after each epoch
    best/  final/              a model each, for `from_pretrained`
    final_average/             if the recipe averages weights
    checkpoints/epoch-0010/    full training state after 10 epochs, with a manifest by which damage is found
    checkpoints/epoch-0010-batch-000120/    …and 120 total batches of the next
    logs/                      of trackers; trackers.json says which runs of theirs are this one
    profile/                   if steps were profiled: a trace, and where their time went
    hub/                       what is to be published, and what has been
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..files import put_back, replaced_file, require_writable
from ..recipe import Recipe
from .manifest import damage


class RunFolder:
    """
    Paths and files of one run.

    A folder appears under its name only when it is whole: it is written beside and renamed.

    Attributes:
        restarted: whether torchrun started the processes again after a failure, with the command they had before.
    """

    def __init__(self, recipe: Recipe):
        assert recipe.output_dir is not None, "parse_recipe gives one"
        self.path = Path(recipe.output_dir)
        self.restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
        self.recipe_file = self.path / "recipe.yaml"
        self.metrics_file = self.path / "metrics.jsonl"
        self.environment_file = self.path / "environment.json"
        self.status_file = self.path / "status.json"
        self.nonfinite_file = self.path / "nonfinite.jsonl"
        self.first_batch = self.path / "first_batch.png"
        self.training_curves = self.path / "training_curves.png"
        self.best = self.path / "best"
        self.final = self.path / "final"
        self.final_average = self.path / "final_average"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.profile = self.path / "profile"
        self.hub = self.path / "hub"

    @property
    def _owned(self) -> list[Path]:
        files = [self.recipe_file, self.metrics_file, self.environment_file, self.status_file, self.nonfinite_file]
        files += [self.first_batch, self.training_curves]
        return [*files, self.best, self.final, self.final_average, self.checkpoints, self.logs, self.profile, self.hub]

    def check_free(self, recipe: Recipe) -> None:
        """
        Raises:
            UserError: nothing can be written here; or another run lies here, and this one neither resumes it nor was
                told to overwrite it.
        """
        if int(os.environ.get("RANK", 0)) == 0:  # others may not see it
            require_writable(self.path, "output_dir")
        taken = any(path.exists() for path in self._owned)
        if taken and not (recipe.resume_from_checkpoint or recipe.overwrite_output_dir or self.restarted):
            raise UserError(
                f"output_dir {self.path} already holds a run: continue it with --resume_from_checkpoint auto, "
                "replace it with --overwrite_output_dir, or choose another with --output_dir"
            )

    def checkpoint_to_resume(self, recipe: Recipe) -> tuple[Path | None, list[str]]:
        """
        The checkpoint that `resume_from_checkpoint` means, proved whole, or None for a new run; and what there is to
        say about it: newer ones that are damaged, and how the recipe has changed.

        Raises:
            UserError: there is no such checkpoint, it is damaged, or the recipe is another one now.
        """
        wanted = recipe.resume_from_checkpoint
        if self.restarted and self._saved():
            wanted = "latest"
        if wanted is None:
            return None, []
        checkpoint, remarks = self._newest(wanted) if wanted in ("latest", "auto") else (_proved_whole(wanted), [])
        if checkpoint is None:
            return None, []
        changes = recipe.changes_since(yaml.safe_load((checkpoint / "recipe.yaml").read_text()))
        if changes and not recipe.allow_recipe_change:
            raise UserError(
                f"the recipe is not the one that {checkpoint} was trained by: {'; '.join(changes)}. Go on with the "
                "new one by --allow_recipe_change, or give the old one"
            )
        return checkpoint, remarks + [f"changed in the recipe: {change}" for change in changes]

    def newest_whole_checkpoint(self) -> tuple[Path | None, list[str]]:
        """The newest checkpoint without damage, if any, and what is wrong with those after it."""
        passed_over: list[str] = []
        for path in reversed(self._saved()):
            problem = damage(path)
            if problem is None:
                return path, passed_over
            passed_over.append(f"{path} is damaged ({problem}) and was passed over")
        return None, passed_over

    def _newest(self, wanted: str) -> tuple[Path | None, list[str]]:
        checkpoint, remarks = self.newest_whole_checkpoint()
        if checkpoint is None and (remarks or wanted == "latest"):
            reasons = "".join(f"; {remark}" for remark in remarks)
            which = "whole checkpoint" if remarks else "checkpoint"
            raise UserError(f"resume_from_checkpoint {wanted}: no {which} in {self.checkpoints}{reasons}")
        return checkpoint, remarks

    def _saved(self) -> list[Path]:
        """
        Checkpoints, the oldest first. A kill may leave the hidden one that was just to be replaced, and nothing in its
        place.
        """
        return sorted(
            [*self.checkpoints.glob(".epoch-*.old"), *self.checkpoints.glob("epoch-*")],
            key=lambda path: checkpoint_position(path.name),
        )  # sorting keeps the hidden one before the other

    def begin(self, recipe: Recipe) -> None:
        """Start a new run here, in place of any old one."""
        self.path.mkdir(parents=True, exist_ok=True)
        for path in self._owned:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        recipe.save(self.recipe_file)

    def resume(self, recipe: Recipe, checkpoint: Path) -> None:
        """Go on from a checkpoint: with the metrics as they were then, and the recipe as it is now."""
        with replaced_file(self.metrics_file) as unfinished:
            shutil.copyfile(checkpoint / "metrics.jsonl", unfinished)
        recipe.save(self.recipe_file)
        for folder in (self.path, self.checkpoints):
            put_back(folder)

    def status(self) -> dict[str, Any]:
        """What `status.json` says; nothing if there is none."""
        if not self.status_file.exists():
            return {}
        return json.loads(self.status_file.read_text())

    def log(self, row: dict[str, Any]) -> None:
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """
        The rows of metrics.jsonl, one for each epoch that is over.

        Raises:
            UserError: a line is not JSON.
        """
        if not self.metrics_file.exists():
            return []
        rows = []
        for number, line in enumerate(self.metrics_file.read_text().splitlines(), 1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise UserError(f"{self.metrics_file} is damaged: line {number} is not whole ({error})") from error
        return rows

    def seconds(self) -> float:
        """Spent on training and validation in the epochs that are over, whichever start of the run they were in."""
        rows = self.history()
        return rows[-1]["seconds"] if rows else 0.0

    def sessions(self) -> list[dict[str, Any]]:
        """What each start of the run ran on, and its `first_epoch`: what `add_session` was told."""
        return json.loads(self.environment_file.read_text()) if self.environment_file.exists() else []

    def add_session(self, environment: dict[str, Any], first_epoch: int) -> None:
        """Note what this start of the run runs on, and with which epoch it begins, counted from 1."""
        sessions = [*self.sessions(), {"first_epoch": first_epoch, **environment}]
        with replaced_file(self.environment_file) as unfinished:
            unfinished.write_text(json.dumps(sessions, indent=1) + "\n")

    def best_score(self, recipe: Recipe) -> float:
        """The best `recipe.score` so far, of the weights or their average; -inf if there is none yet."""
        score, _, _ = recipe.best_of(self.history())
        return score

    def tensorboard_files(self) -> dict[str, Path]:
        """By the path that they have in a repository, where the Hub looks for them."""
        return {f"runs/{path.relative_to(self.logs).as_posix()}": path for path in self.logs.rglob("*tfevents*")}

    def forget_old(self, recipe: Recipe) -> None:
        """Remove the checkpoints that `keep_last` and `keep_every_epochs` do not keep."""
        if recipe.keep_last is None:
            return
        saved = [path for path in self._saved() if not path.name.startswith(".")]
        for path in saved[: -recipe.keep_last]:
            epoch, batches = checkpoint_position(path.name)
            if recipe.keep_every_epochs is None or batches or epoch % recipe.keep_every_epochs:
                doomed = path.with_name(f".{path.name}.forgotten")
                path.rename(doomed)  # at once, so that a kill leaves no half of it
                shutil.rmtree(doomed)


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run with a model in it."""
    return (path / "recipe.yaml").is_file() and (path / "best").is_dir()


def open_run(path: Path) -> tuple[RunFolder, Recipe]:
    """
    A run folder, and the recipe it was trained by.

    Raises:
        UserError: it is none.
    """
    try:
        fields = yaml.safe_load((path / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not the folder of a run: no readable recipe.yaml in it") from error
    if (path / "config.json").exists():
        raise UserError(f"{path} is a model, not the folder of a run: give the folder above it")
    try:
        recipe = Recipe(**{**fields, "output_dir": str(path)})
    except TypeError as error:
        raise UserError(
            f"{path} is not the folder of a run: its recipe.yaml is of another version ({error})"
        ) from error
    return RunFolder(recipe), recipe


def _proved_whole(checkpoint: str) -> Path:
    path = Path(checkpoint)
    if not path.is_dir():
        raise UserError(f"resume_from_checkpoint {checkpoint}: not a checkpoint folder")
    problem = damage(path)
    if problem is not None:
        raise UserError(
            f"resume_from_checkpoint {checkpoint}: {problem}. With `latest`, the newest whole one is taken"
        )
    return path


def checkpoint_position(name: str) -> tuple[int, int]:
    """Epochs completed, and batches of the next, by the name of a checkpoint."""
    numbers = [int(number) for number in re.findall(r"\d+", name)]
    return numbers[0], numbers[1] if len(numbers) > 1 else 0
