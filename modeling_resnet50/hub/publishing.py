"""What a run publishes while it trains, and gets back from the Hub. `upload` sends it, in a process of its own."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock
from huggingface_hub import HfApi, snapshot_download

from resnet50_recipe.errors import UserError
from resnet50_recipe.training_arguments import TrainingArguments
from resnet50_recipe.words import command

from ..files import give_usual_modes, put_in_place
from ..training.checkpoint import WRITE_ERRORS
from ..training.manifest import damage
from ..training.progress import read_state
from ..training.run_folder import RunFolder, checkpoint_position
from . import upload
from .upload import FAREWELL, Item, enqueue, explain_failures, files_of, in_a_process, read_records, state_of, waiting


SECONDS_FOR_THE_FIRST_ANSWER = 60.0
_KEPT_BY_TOOLS = {".git", ".cache"}  # the client raises for a file in these
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


class Publisher:
    """
    Puts what a run publishes into its queue on the disk, and keeps the process alive that sends it. To be entered for
    as long as a run trains. Nothing that the Hub does can stop training, or make it wait.

    Does nothing on other processes than the main one, nor without `push_to_hub` or `hub_backup_id`.

    Args:
        report: is told what the user should know, a sentence.

    Attributes:
        everything_is_sent: after it was left: whether the Hub has all of it.
    """

    def __init__(
        self, recipe: TrainingArguments, run: RunFolder, is_main_process: bool, report: Callable[[str], None]
    ):
        self.recipe, self.run, self.report = recipe, run, report
        self.repo_id, self.backup_id = recipe.hub_model_id or "", recipe.hub_backup_id or ""
        self.pushes = recipe.push_to_hub and is_main_process
        self.backs_up = recipe.hub_backup_id is not None and is_main_process
        self.everything_is_sent = True
        self._environment = dict(os.environ)
        if recipe.hub_token is not None:  # by no argument: those are for all to see
            self._environment["HF_TOKEN"] = recipe.hub_token
        self._lock = threading.Lock()  # checkpoints are written by another thread
        self._process: subprocess.Popen[bytes] | None = None
        self._reported = ""

    def check_access(self, is_new: bool) -> None:
        """
        Make sure, before training, that there are repositories to push to, and that nothing of another run would be
        replaced there. A Hub that does not answer is no reason to wait.

        Args:
            is_new: the run goes on from no checkpoint.

        Raises:
            UserError: not logged in, not allowed to write there, or it holds another run's model or checkpoints.
        """
        repositories = {self.repo_id: self.recipe.hub_private_repo} if self.pushes else {}
        if self.backs_up:
            repositories[self.backup_id] = True
        for repo_id, private in repositories.items():
            arguments = ["--prepare", repo_id] + ([] if private is None else ["--private", str(private).lower()])
            with open(os.devnull, "w") as log:
                found = in_a_process(arguments, SECONDS_FOR_THE_FIRST_ANSWER, log, self._environment)
            if "refused" in found:
                raise UserError(f"cannot push to {repo_id}: {found['refused']}")
            if "failure" in found:
                self.report(f"the Hub does not answer ({found['failure']}): it is tried again while training goes on")
                continue
            if found["repo_id"] != repo_id:
                self.report(f"{repo_id} is called {found['repo_id']} on the Hub now, and published there")
            if repo_id == self.backup_id and not found["private"]:
                self.report(f"{repo_id} is public, so that everybody reads the backup: make it private on the Hub")
            if found["head"] not in {record["commit"] for record in read_records(self.run.hub)}:
                self._require_nothing_of_others(repo_id, found, is_new)

    def _require_nothing_of_others(self, repo_id: str, found: dict[str, Any], is_new: bool) -> None:
        if repo_id == self.backup_id and is_new and found["checkpoints"]:
            raise UserError(
                f"cannot push to {repo_id}: it holds checkpoints of another run. Go on from them with "
                "--resume_from_checkpoint hub:, or choose another --hub_backup_id"
            )
        if repo_id != self.repo_id or not found["model"] or self.recipe.hub_overwrite:
            return
        differences = _other_recipe(self.recipe, found["recipe"])
        if differences:
            raise UserError(
                f"cannot push to {repo_id}: its main branch holds another model ({differences}), which would be "
                "replaced. Choose another --hub_model_id, or allow it by --hub_overwrite"
            )

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if not (self.pushes or self.backs_up):
            return
        if kind is not None:  # what waits is sent if that goes at once; the rest when the run is resumed
            self._close()
            return
        if waiting(self.run.hub):
            self.report(f"publishing what is left, for up to {self.recipe.hub_wait_minutes:g} minutes")
            self._notify(FAREWELL)
        self._close()
        if self._process is not None:
            self._process.wait()
        self.everything_is_sent = not waiting(self.run.hub)
        if not self.everything_is_sent:
            trouble = state_of(self.run.hub)["trouble"]
            self.report(
                f"trained, not yet published ({trouble}): run `{command('resnet50', 'publish', self.run.path)}`"
            )
        elif self.pushes:
            self.report(f"published: {self.recipe.hub_model_id}")

    # What a run has to say

    def best_is_new(self) -> None:
        """To be called when `best` has been replaced."""
        if self.pushes and self.recipe.hub_strategy in ("best", "all_checkpoints"):
            self._put_best()

    def checkpoint(self, epoch: int, save: Callable[[Path], None]) -> None:
        """
        To be called at a checkpoint after an epoch.

        Args:
            save: writes the model as it is now into an empty folder.
        """
        if self.pushes and self.recipe.hub_strategy == "every_checkpoint":
            self._put_best()
        if self.pushes and self.recipe.hub_strategy == "all_checkpoints":
            folder = self.run.hub / ".model"
            shutil.rmtree(folder, ignore_errors=True)
            try:
                folder.mkdir(parents=True)
                save(folder)
                give_usual_modes(folder)  # the queue, in the run folder, holds links to these files
            except WRITE_ERRORS as error:  # a full disk must not end the run
                shutil.rmtree(folder, ignore_errors=True)
                self.report(f"Epoch {epoch}: could not be queued for the Hub ({error})")
                return
            self._put(self._item(f"Epoch {epoch}", revision=f"epoch-{epoch:04d}"), model_files(folder))
            shutil.rmtree(folder)

    def back_up(self, checkpoint: Path) -> None:
        """To be called when a training state stands, by any thread. It and `best` go to `hub_backup_id`."""
        if self.backs_up:
            files = {f"checkpoints/{checkpoint.name}/{name}": path for name, path in files_of(checkpoint).items()}
            if self.run.best.exists():
                files |= {f"best/{name}": path for name, path in files_of(self.run.best).items()}
            record = self.run.contents_file  # by which a machine that resumes knows what best/ is
            growing = {record.name: record} if record.exists() else {}
            item = Item(self.backup_id, "main", f"Backup of {checkpoint.name}", private=True, backup=True)
            self._put(item, files, growing)

    def final_is_there(self) -> None:
        """To be called when training is done."""
        if self.pushes:
            self._put_best()
            if self.recipe.hub_final_tag is not None:
                item = self._item("Final weights", revision="final", tag=self.recipe.hub_final_tag)
                self._put(item, model_files(self.run.final))

    def look(self) -> None:
        """To be called now and then: reports what is in the way, and sees to it that what waits is sent."""
        if not (self.pushes or self.backs_up):
            return
        state = state_of(self.run.hub)
        trouble = (state["trouble"] or "").split(";")[0]  # without how often it was tried
        if trouble and trouble != self._reported:
            self.report(f"not yet published: {trouble}. Training goes on")
        self._reported = trouble
        if waiting(self.run.hub) and not state["refused"]:
            self._notify()

    def _put_best(self) -> None:
        if self.run.best.exists():
            item = self._item(f"Best weights so far, by {self.recipe.metric_for_best_model}")
            self._put(item, model_files(self.run.best), self.run.tensorboard_files())

    def _item(self, message: str, revision: str = "main", tag: str | None = None) -> Item:
        return Item(self.repo_id, revision, message, tag, self.recipe.hub_private_repo)

    def _put(self, item: Item, files: dict[str, Path], growing: dict[str, Path] = {}) -> None:  # noqa: B006
        try:
            with self._lock:
                enqueue(self.run.hub, item, files, growing)
                self._notify()
        except OSError as error:  # a full disk must not end the run
            self.report(f"{item.message}: could not be queued for the Hub ({error})")

    # The process

    def _notify(self, line: bytes = b"new\n") -> None:
        for _ in range(2):
            process = self._process
            if process is None or process.poll() is not None:
                process = self._process = self._start()
            assert process.stdin is not None
            try:
                process.stdin.write(line)
                return
            except BrokenPipeError:  # it ended just now
                process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                sys.executable,
                "-P",
                upload.__file__,
                str(self.run.hub),
                "--wait",
                str(60 * self.recipe.hub_wait_minutes),
            ],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for training
        )

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


def _other_recipe(recipe: TrainingArguments, published: str | None) -> str:
    """What is otherwise in a published recipe.yaml, in words; nothing if a run by this recipe wrote it."""
    if published is None:
        return "of no recipe"
    try:
        fields = yaml.safe_load(published)
    except yaml.YAMLError:
        fields = None
    if not isinstance(fields, dict):
        return "of no readable recipe"
    # As it would be published: without what only this machine knows.
    changes = TrainingArguments(**recipe.public_dict()).changes_since(fields)
    return "; ".join(changes[:3]) + ("; …" if changes[3:] else "")


def model_files(folder: Path) -> dict[str, Path]:
    """
    What is published of a model's folder: everything in it, by its path there, but what git and the Hub's client keep
    in a clone or a download for themselves.

    Raises:
        UserError: there is no model in it, or something that could run code when it is loaded.
    """
    files = {name: path for name, path in files_of(folder).items() if _KEPT_BY_TOOLS.isdisjoint(name.split("/"))}
    if "config.json" not in files:
        raise UserError(f"{folder} holds no model: no config.json in it")
    pickles = [name for name in files if name.endswith(_PICKLES)]
    if pickles:
        raise UserError(
            f"{folder / pickles[0]} is a pickle, which could run code where it is loaded: remove it, or publish the "
            f"model alone, as `{command('resnet50', 'import', folder, 'OUT')}` makes it"
        )
    return files


def fetch_backup(recipe: TrainingArguments, run: RunFolder) -> TrainingArguments:
    """
    Bring the newest training state of a backup into the run folder, if `resume_from_checkpoint` is `hub:user/name`;
    `hub:`, for `hub_backup_id`; or `auto`, and there is none on this disk. May be called by several processes of a
    machine at once.

    Returns:
        The recipe, to be resumed from `latest`; under `auto`, the recipe as it is.

    Raises:
        UserError: there is none, it cannot be fetched, or it is damaged. `auto` does without one that is not there.
    """
    wanted = recipe.resume_from_checkpoint or ""
    automatic = wanted == "auto" and recipe.hub_backup_id is not None
    if not (wanted.startswith("hub:") or (automatic and run.newest_whole_checkpoint()[0] is None)):
        return recipe
    repo_id = recipe.hub_backup_id if automatic else wanted.removeprefix("hub:") or recipe.hub_backup_id
    if not repo_id:
        raise UserError("resume_from_checkpoint hub: needs a repository, hub:user/name, or hub_backup_id")
    run.path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(run.path.with_name(f".{run.path.name}.backup.lock")):
        result = explain_failures(repo_id, lambda: _fetch(repo_id, run, recipe.hub_token))
    problem = result.get("refused") or result.get("failure") or (None if automatic else result.get("absent"))
    if problem is not None:
        raise UserError(f"resume_from_checkpoint {wanted}: {problem}")
    return recipe if automatic else replace(recipe, resume_from_checkpoint="latest")


def _fetch(repo_id: str, run: RunFolder, token: str | None) -> dict[str, str]:
    api = HfApi(token=token)
    if not api.repo_exists(repo_id):
        return {"absent": f"{repo_id} is not there, or this token may not see it"}
    names = [name.split("/") for name in api.list_repo_files(repo_id)]
    saved = {parts[1] for parts in names if parts[0] == "checkpoints"}
    if not saved:
        return {"absent": f"{repo_id} holds no checkpoint"}
    newest = max(saved, key=checkpoint_position)
    place = run.checkpoints / newest
    if place.exists() and damage(place) is None:
        return {}
    fetched = run.path / ".backup"
    patterns = [f"checkpoints/{newest}/*", "best/*", run.contents_file.name]
    snapshot_download(repo_id, local_dir=fetched, allow_patterns=patterns, token=token)
    problem = damage(fetched / "checkpoints" / newest)
    if problem is not None:
        shutil.rmtree(fetched)  # or the next repository's files would come to lie among these
        return {"failure": f"{newest} of {repo_id} is damaged: {problem}"}
    try:
        read_state(fetched / "checkpoints" / newest)  # before it stands where `latest` would take it
    except UserError as error:
        shutil.rmtree(fetched)
        return {"refused": str(error)}
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    put_in_place(fetched / "checkpoints" / newest, place)
    if (fetched / "best").exists() and not run.best.exists():
        put_in_place(fetched / "best", run.best)
        if (fetched / run.contents_file.name).exists():
            os.replace(fetched / run.contents_file.name, run.contents_file)
    shutil.rmtree(fetched)
    return {}
