"""Writes the models of a run. One that the disk does not take stays in memory, and is tried again."""

import copy
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from resnet50_recipe.errors import UserError, in_one_line
from resnet50_recipe.recipe import Recipe
from resnet50_recipe.weights import Weights

from .checkpoint import RETRY_AFTER, WRITE_ERRORS
from .run_folder import RunFolder
from .supervision import TrainingStopped


TRIES_AT_THE_END = 10


@dataclass(frozen=True)
class _Model:
    path: Path
    model: PreTrainedModel
    weights: Weights
    then: Callable[[], None]


class ModelWriter:
    """
    For the main process.

    Args:
        run: whose `best`, `final` and `final_average` they are.
        save: writes a model into an empty folder.
        report: is told what went wrong, a sentence.
    """

    def __init__(
        self,
        run: RunFolder,
        save: Callable[[Path, PreTrainedModel, Weights], None],
        report: Callable[[str], None],
    ):
        self.run, self.save, self.report = run, save, report
        self._waiting: dict[Path, _Model] = {}
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def write(
        self,
        path: Path,
        model: PreTrainedModel,
        weights: Weights,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Put a model in the place of `path`, now or as soon as the disk takes it.

        Args:
            path: one of the run's three.
            model: unwrapped. If it has to wait, a copy does.
            weights: which ones it has.
            then: called when it stands.
        """
        with self._lock:
            wanted = _Model(path, model, weights, then)
            self._waiting.pop(path, None)
            if not self._write(wanted):
                self._waiting[path] = _Model(path, copy.deepcopy(model).cpu(), weights, then)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._try_now_and_then, name="models", daemon=True)
                    self._thread.start()

    def best_score(self, recipe: Recipe) -> float:
        """Of the weights in `best`, or of those that wait to be."""
        with self._lock:
            waiting = self._waiting.get(self.run.best)
            if waiting is None:
                return self.run.best_model(recipe)[0]
            row = waiting.weights.row(self.run.history())
            return -math.inf if row is None else recipe.score(row, waiting.weights)

    def finish(self) -> None:
        """
        Wait until all models stand, or until the run is to stop.

        Raises:
            TrainingStopped: somebody has asked for it. The last checkpoint has the weights.
            UserError: the disk does not take them.
        """
        for _ in range(TRIES_AT_THE_END):
            if not self._try_again():
                return
            until = time.monotonic() + RETRY_AFTER
            while (reason := self.run.wish()) is None and time.monotonic() < until:
                self._closed.wait(1)
            if reason is not None:
                raise TrainingStopped(reason)
        missing = ", ".join(str(path) for path in self._waiting)
        raise UserError(
            f"{missing} could not be written: make room on the disk, then the same command with "
            "--resume_from_checkpoint latest goes on from the last checkpoint"
        )

    def close(self) -> None:
        """When a run ends, however it ends: a last try for what waits."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        self._try_again()
        for waiting in self._waiting.values():
            self.report(f"{waiting.path.name}/ of epoch {waiting.weights.epoch} is lost: it could not be written")
        self._waiting.clear()

    def _try_now_and_then(self) -> None:
        while not self._closed.wait(RETRY_AFTER):
            self._try_again()

    def _try_again(self) -> bool:
        """Whether any still waits."""
        with self._lock:
            for path, waiting in list(self._waiting.items()):
                if self._write(waiting):
                    del self._waiting[path]
            return bool(self._waiting)

    def _write(self, wanted: _Model) -> bool:
        try:
            with self.run.replaced_model(wanted.path, wanted.weights) as folder:
                self.save(folder, wanted.model, wanted.weights)
        except WRITE_ERRORS as error:
            if wanted.path not in self._waiting:
                self.report(
                    f"could not write {wanted.path.name}/ ({in_one_line(error)}): what was there before "
                    f"stays, and it is tried again every {RETRY_AFTER} s"
                )
            return False
        wanted.then()
        return True
