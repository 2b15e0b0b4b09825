"""
The folder of a run, and getting back into it.

    recipe.yaml  metrics.jsonl
    environment.json           for each start of the run: machine, versions, commit
    status.json                running, stopped, failed or finished; since when, at which step, and why
    nonfinite.jsonl            if numbers went wrong: when, where, with which images and losses
    recent_steps.jsonl         loss, learning rate and norm of the gradient of the last 1,000 steps
    first_batch.png            the first training batch, as the network sees it
    training_curves.png        loss, top-1, learning rate and images per second, after each epoch
    best/  final/              a model each, for `from_pretrained`
    final_average/             if the recipe averages weights
    checkpoints/epoch-0010/    full training state after 10 epochs, with a manifest by which damage is found
    checkpoints/epoch-0010-batch-000120/    …and 120 total batches of the next
    logs/                      of trackers; trackers.json says which runs of theirs are this one
    profile/                   if steps were profiled: a trace, and where their time went
    hub/                       what is to be published, and what has been
    contents.json              the newest checkpoint, and the files of each model with its epoch: what the run has made
    set_aside-1/               what the run went back behind, or could not read: kept, and never taken
    lock.json                  while it trains: the process that does
"""

import json
import math
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe
from resnet50_recipe.run_options import RunOptions
from resnet50_recipe.training_arguments import TrainingArguments
from resnet50_recipe.weights import Weights

from ..files import path_of, put_back, replaced_file, replaced_folder, require_writable, sync
from .manifest import damage, listed_files, sha256
from .progress import does_not_fit, read_state
from .run_lock import RunLock, is_alive
from .trackers import kind_of
from .trained_model import TrainedModel


_WEIGHTS = "model.safetensors"
# state.json: what upload.json was called at first.
_OF_HUB = ("queue", "published.jsonl", "upload.json", "state.json", "log.txt", ".model", ".lock")


class RunFolder:
    """
    Paths and files of one run.

    A folder appears under its name only when it is whole: it is written beside and renamed. Nothing that the run has
    made is removed unless it is told to overwrite it, and nothing that others have put here at all.

    Attributes:
        lock: to be held while it trains.
        report: is told what was set aside, a sentence.
        wish: says why the run is to stop, if somebody has asked for it.
        restarted: whether torchrun started the processes again after a failure, with the command they had before.
    """

    def __init__(self, options: RunOptions):
        assert options.output_dir is not None, "parse_recipe gives one"
        self.path = Path(options.output_dir)
        self.restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
        self.recipe_file = self.path / "recipe.yaml"
        self.metrics_file = self.path / "metrics.jsonl"
        self.environment_file = self.path / "environment.json"
        self.status_file = self.path / "status.json"
        self.nonfinite_file = self.path / "nonfinite.jsonl"
        self.recent_steps_file = self.path / "recent_steps.jsonl"
        self.first_batch = self.path / "first_batch.png"
        self.training_curves = self.path / "training_curves.png"
        self.best = self.path / "best"
        self.final = self.path / "final"
        self.final_average = self.path / "final_average"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.profile = self.path / "profile"
        self.stacks = self.path / "stacks"
        self.hub = self.path / "hub"
        self.reserve = self.path / ".reserve"  # room for a last word on a full disk
        self.contents_file = self.path / "contents.json"
        self.lock = RunLock(self.path)
        self.report: Callable[[str], None] = lambda sentence: None
        self.wish: Callable[[], str | None] = lambda: None
        self._contents_lock = threading.Lock()  # checkpoints are written by another thread
        self._unwritten: list[str] = []

    @property
    def _files(self) -> list[Path]:
        files = [self.recipe_file, self.metrics_file, self.environment_file, self.status_file, self.nonfinite_file]
        return [
            *files,
            self.recent_steps_file,
            self.first_batch,
            self.training_curves,
            self.contents_file,
            self.reserve,
        ]

    @property
    def _models(self) -> list[Path]:
        return [self.best, self.final, self.final_average]

    @property
    def _beside(self) -> list[Path]:
        """What else is the run's, of folders in which others may have theirs."""
        trackers = readable(self.logs / "trackers.json", dict) or {}
        logs = [kind_of(name).logs or str(known) for name, known in trackers.items()]
        logs += ["trackers.json"] if trackers else []
        profile = _inside(self.profile, ["trace.json", "summary.json"])
        return [*_inside(self.logs, logs), *profile, *self.stacks.glob("rank-*.txt"), *_inside(self.hub, _OF_HUB)]

    @contextmanager
    def held(self) -> Iterator[str | None]:
        """
        While this lasts, no other start trains here. For the main process; the others do nothing.

        Gives:
            what there is to say: that who trained here before was killed.

        Raises:
            UserError: another process trains here, or this is no place to write to.
        """
        if int(os.environ.get("RANK", 0)) > 0:
            yield None
            return
        for path in (self.path, self.checkpoints):
            if path.is_symlink() and not path.exists():
                raise UserError(f"{path} is a link to {path.readlink()}, which is not there: mount it, or make it")
        require_writable(self.path, "output_dir")
        remark = self.lock.acquire()
        try:
            yield remark
        finally:
            self.lock.release()

    def check_free(self, options: RunOptions) -> None:
        """
        Raises:
            UserError: another run lies here, and this one neither resumes it nor was told to overwrite it.
        """
        taken = any(path.exists() for path in (*self._files, *self._beside)) or any(map(files_in, self._models))
        if (taken or self._saved()) and not (
            options.resume_from_checkpoint or options.overwrite_output_dir or self.restarted
        ):
            raise UserError(
                f"output_dir {self.path} already holds a run: continue it with --resume_from_checkpoint auto, "
                "replace it with --overwrite_output_dir, or choose another with --output_dir"
            )

    def checkpoint_to_resume(self, recipe: TrainingArguments) -> tuple[Path | None, list[str]]:
        """
        The checkpoint that `resume_from_checkpoint` means, proved whole, or None for a new run; and what there is to
        say about it: newer ones that are damaged, and how the recipe has changed.

        Raises:
            UserError: there is no such checkpoint, it is damaged or of a version that is not read, or the recipe is
                another one now.
        """
        wanted = recipe.resume_from_checkpoint
        if self.restarted and self._saved():
            wanted = "latest"
        if wanted is None:
            return None, []
        checkpoint, remarks = self._newest(wanted) if wanted in ("latest", "auto") else (_proved_whole(wanted), [])
        if checkpoint is None:
            known = self.newest_checkpoint
            if known is not None and not recipe.overwrite_output_dir:
                raise UserError(
                    f"resume_from_checkpoint {wanted}: {self.path} has had checkpoints, the last one {known}, and "
                    f"there is none in {self.checkpoints} now. Put them back, or mount their disk; or replace the run "
                    "with --overwrite_output_dir, or choose another --output_dir"
                )
            return None, []
        read_state(checkpoint)
        saved = yaml.safe_load((checkpoint / "recipe.yaml").read_text())
        changes = recipe.changes_since(saved)
        if changes and not recipe.allow_recipe_change:
            raise UserError(
                f"the recipe is not the one that {checkpoint} was trained by: {'; '.join(changes)}. Go on with the "
                "new one by --allow_recipe_change, or give the old one"
            )
        if recipe.allow_recipe_change and saved.get("optim", recipe.optim) != recipe.optim:
            raise does_not_fit(checkpoint, f"optimizer, {saved['optim']},")
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

    def begin(self, recipe: TrainingArguments) -> None:
        """Start a new run here. What an old one has made is removed if the recipe says so, and else set aside."""
        saved = [*self.checkpoints.glob("epoch-*"), *self.checkpoints.glob(".epoch-*")]
        if recipe.overwrite_output_dir:
            models = self._contents().get("models", {})
            for path in self._models:
                _remove(_inside(path, models.get(path.name, {}).get("files", [])))
            for path in saved:
                hidden = path.name.startswith(".")  # unfinished: nobody else would write there
                _remove([path] if hidden else _inside(path, listed_files(path)))
            _remove([*self._files, *self._beside])
        self._set_aside([*self._files, *self._models, *saved, *self._beside], "of a run that was here before")
        self.path.mkdir(parents=True, exist_ok=True)
        recipe.save(self.recipe_file)

    def resume(self, recipe: TrainingArguments, checkpoint: Path, epoch: int) -> None:
        """
        Go on from a checkpoint: with the metrics as they were then, and the recipe as it is now. What the run has made
        after that point is of another line now, and set aside.

        Args:
            epoch: how many are completed in the checkpoint.
        """
        self._mend()
        metrics = (checkpoint / "metrics.jsonl").read_bytes()
        if path_of(checkpoint) != checkpoint and path_of(checkpoint).exists():
            self._set_aside([path_of(checkpoint)], "damaged")
        hidden = {path_of(path) for path in self.checkpoints.glob(".epoch-*")}
        for path in (*self._files, *self._models, *sorted(hidden)):
            put_back(path)
        within = checkpoint.parent.resolve() == self.checkpoints.resolve()  # or of another run
        here = checkpoint_position(checkpoint.name) if within else (-1, 0)
        after = [path for path in self._saved() if checkpoint_position(path.name) > here]
        after += [path for path in self._models if files_in(path) and not (within and self.wrote(path, until=epoch))]
        if self.metrics_file.exists() and not metrics.startswith(self.metrics_file.read_bytes()):
            after.append(self.metrics_file)
        sessions = [session for session in self.sessions() if within and session["first_epoch"] <= epoch + 1]
        if sessions != self.sessions():
            after.append(self.environment_file)
        self._set_aside(after, f"from after {checkpoint.name}")
        self._unwritten = []
        with replaced_file(self.metrics_file) as unfinished:
            unfinished.write_bytes(metrics)
        self._save_sessions(sessions)
        with self._changed_contents() as contents:
            models = contents.get("models", {})
            contents["models"] = {path.name: models[path.name] for path in self._models if files_in(path)}
            contents["checkpoint"] = path_of(checkpoint).name if within else None
        with replaced_file(self.recipe_file) as unfinished:
            recipe.save(unfinished)

    def _mend(self) -> None:
        """Set aside small files that a power failure or a bad disk has left unreadable."""
        kinds = {self.status_file: dict, self.environment_file: list, self.contents_file: dict}
        kinds[self.logs / "trackers.json"] = dict
        damaged = [path for path, kind in kinds.items() if path.exists() and readable(path, kind) is None]
        try:
            self.history()
        except UserError:
            damaged.append(self.metrics_file)
        self._set_aside(damaged, "unreadable")

    def _set_aside(self, paths: Iterable[Path], why: str) -> None:
        """Each into a folder beside it; where it is a link, beside what it leads to, which is on the same disk."""
        there = [path.resolve() for path in paths if path.is_file() or files_in(path)]
        if not there:
            return
        parents = {path.parent for path in there}
        taken = [found.name for parent in parents for found in parent.glob("set_aside-*")]
        number = 1 + max((int(name.removeprefix("set_aside-")) for name in taken if name[10:].isdigit()), default=0)
        for path in there:
            place = path.parent / f"set_aside-{number}"
            place.mkdir(exist_ok=True)
            path.rename(place / path.name)
        folders = " and ".join(sorted(str(parent / f"set_aside-{number}") for parent in parents))
        self.report(f"set aside in {folders}, {why}: {', '.join(path.name for path in there)}")

    def wrote(self, model: Path, until: int) -> bool:
        """Whether a model's weights are those that this run has put there, of no later epoch than that."""
        record = self._contents().get("models", {}).get(model.name)
        if record is None or record["epoch"] > until or not (model / _WEIGHTS).is_file():
            return False
        return record["sha256"] == sha256(model / _WEIGHTS)

    # What the run has made

    def _contents(self) -> dict[str, Any]:
        return readable(self.contents_file, dict) or {}

    @contextmanager
    def _changed_contents(self) -> Iterator[dict[str, Any]]:
        with self._contents_lock:
            contents = self._contents()
            yield contents
            with replaced_file(self.contents_file) as unfinished:
                unfinished.write_text(json.dumps(contents, indent=1) + "\n")

    def checkpoint_stands(self, checkpoint: Path) -> None:
        """To be called when one has been written."""
        with self._changed_contents() as contents:
            contents["checkpoint"] = checkpoint.name

    @contextmanager
    def replaced_model(self, path: Path, weights: Weights) -> Iterator[Path]:
        """
        Gives a folder to write a model to; on leaving, it takes the place of `best`, `final` or `final_average`. One
        in which others have put something is set aside.

        Args:
            path: of these three.
        """
        with replaced_folder(path) as folder:
            yield folder
            # By the prefix of their columns in the metrics it is told whether they are averaged.
            record = {"epoch": weights.epoch, "prefix": weights.column(""), "sha256": sha256(folder / _WEIGHTS)}
            record["files"] = files_in(folder)
            known = self._contents().get("models", {}).get(path.name, {}).get("files", [])
            if path.exists() and set(files_in(path)) - set(known):
                self._set_aside([path], "with files of others")
        with self._changed_contents() as contents:
            contents.setdefault("models", {})[path.name] = record

    def best_model(self, recipe: Recipe) -> tuple[float, Weights]:
        """The weights in `best`, and their `recipe.score`; -inf and epoch 0 if there are none."""
        if not self.best.exists():
            return -math.inf, Weights(0)
        record = self._contents().get("models", {}).get(self.best.name)
        if record is None:  # of a run before there were records
            return recipe.best_of(self.history())
        weights = Weights(record["epoch"], averaged=record["prefix"] != "")
        row = weights.row(self.history())
        return -math.inf if row is None else recipe.score(row, weights), weights

    def trained_model(self, recipe: TrainingArguments, weights: Weights) -> TrainedModel:
        """What the run has to say of a model with these weights."""
        return TrainedModel(recipe, self.history(), self.sessions(), weights)

    # Records

    def status(self) -> dict[str, Any]:
        """What `status.json` says; nothing if there is none, or none that can be read."""
        return readable(self.status_file, dict) or {}

    def stands(self) -> str:
        """
        How the run stands: `status.json`'s word, but `killed` where that says `running` and the process which wrote it
        is dead; `unknown` where it says nothing. Of a process on another machine, this waits for a sign of life.
        """
        word = self.status().get("status", "unknown")
        return "killed" if word == "running" and not is_alive(self.lock.path) else word

    @property
    def newest_checkpoint(self) -> str | None:
        """The name of the one that was written last."""
        return self._contents().get("checkpoint")

    def log(self, row: dict[str, Any]) -> None:
        """Add an epoch to the metrics. What a full disk does not take is kept, and written with the next."""
        self._unwritten.append(json.dumps(row) + "\n")
        size = self.metrics_file.stat().st_size if self.metrics_file.exists() else 0
        try:
            with self.metrics_file.open("a") as file:
                file.writelines(self._unwritten)
            sync(self.metrics_file)
        except OSError:
            with suppress(OSError):
                os.truncate(self.metrics_file, size)
        else:
            self._unwritten = []

    def metrics(self) -> str:
        """The lines of metrics.jsonl, with those that the disk has not yet taken."""
        # What is no text is no JSON either, for whoever reads it.
        written = self.metrics_file.read_text(errors="replace") if self.metrics_file.exists() else ""
        return written + "".join(self._unwritten)

    def history(self) -> list[dict[str, Any]]:
        """
        The rows of metrics.jsonl, one for each epoch that is over.

        Raises:
            UserError: a line is not JSON.
        """
        rows = []
        for number, line in enumerate(self.metrics().splitlines(), 1):
            try:
                rows.append({**json.loads(line)})
            except (ValueError, TypeError) as error:
                raise UserError(f"{self.metrics_file} is damaged: line {number} is not whole ({error})") from error
        return rows

    def seconds(self) -> float:
        """
        Spent on training, validation and saving, up to the end of the last epoch, whichever start of the run it was
        in. What is saved after an epoch counts as the next one's.
        """
        rows = self.history()
        return rows[-1]["seconds"] if rows else 0.0

    def sessions(self) -> list[dict[str, Any]]:
        """
        What each start of the run ran on, and its `first_epoch`: what `add_session` was told.

        Raises:
            UserError: the file is damaged.
        """
        if not self.environment_file.exists():
            return []
        sessions = readable(self.environment_file, list)
        if sessions is None:
            raise UserError(f"{self.environment_file} is damaged: it is set aside when the run is resumed")
        return sessions

    def add_session(self, environment: dict[str, Any], first_epoch: int) -> None:
        """Note what this start of the run runs on, and with which epoch it begins, counted from 1."""
        self._save_sessions([*self.sessions(), {"first_epoch": first_epoch, **environment}])

    def _save_sessions(self, sessions: list[dict[str, Any]]) -> None:
        with replaced_file(self.environment_file) as unfinished:
            unfinished.write_text(json.dumps(sessions, indent=1) + "\n")

    def tensorboard_files(self) -> dict[str, Path]:
        """By the path that they have in a repository, where the Hub looks for them."""
        return {f"runs/{path.relative_to(self.logs).as_posix()}": path for path in self.logs.rglob("*tfevents*")}

    def forget_old(self, options: RunOptions) -> None:
        """Remove the checkpoints that `keep_last` and `keep_every_epochs` do not keep."""
        if options.keep_last is None:
            return
        saved = [path for path in self._saved() if not path.name.startswith(".")]
        for path in saved[: -options.keep_last]:
            epoch, batches = checkpoint_position(path.name)
            if set(files_in(path)) - set(listed_files(path)):
                continue  # others have put something in it
            if options.keep_every_epochs is None or batches or epoch % options.keep_every_epochs:
                doomed = path.with_name(f".{path.name}.forgotten")
                path.rename(doomed)  # at once, so that a kill leaves no half of it
                shutil.rmtree(doomed)


def readable(path: Path, kind: type) -> Any:
    """The content of a JSON file; None if there is none, or it is damaged or of another kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, kind) else None


def files_in(folder: Path) -> list[str]:
    """All files in a folder, by their path in it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _inside(folder: Path, names: Iterable[str]) -> list[Path]:
    """Files of a folder, by names that a record has; none that lead out of it."""
    return [folder / name for name in names if ".." not in Path(name).parts and not Path(name).is_absolute()]


def _remove(paths: Iterable[Path]) -> None:
    """Files and folders, and the folders that are empty without them."""
    for path in paths:
        real = path.resolve()  # of a link, what it leads to
        if real.is_dir():
            shutil.rmtree(real)
            if path.is_symlink():
                real.mkdir()
        else:
            real.unlink(missing_ok=True)
        with suppress(OSError):
            os.removedirs(path.parent)


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run with a model in it."""
    return (path / "recipe.yaml").is_file() and (path / "best").is_dir()


def open_run(path: Path) -> tuple[RunFolder, TrainingArguments]:
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
        recipe = TrainingArguments(**{**fields, "output_dir": str(path)})
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
