"""What trackers are told, through Accelerate, and the pictures of a run folder."""

import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, get_available_trackers
from accelerate.utils import LoggerType
from torch import nn

from resnet50_recipe.errors import UserError, did_you_mean, with_its_class
from resnet50_recipe.training_arguments import TrainingArguments

from ..files import replaced_file
from .batch_picture import picture_of
from .checkpoint import Progress
from .curves import draw_training_curves
from .metrics import TrainMetrics
from .run_folder import RunFolder
from .tensor_lists import gradient_norm
from .trackers import PROJECT, Start, kind_of


_FIRST_BATCH = "train/first_batch"
DRAWING_SHARE = 0.05  # of the time, at most: where epochs take seconds, some are not drawn


def check_trackers(names: list[str]) -> None:
    """
    Raises:
        UserError: a tracker that does not exist, or is not installed, or beside `none`.
    """
    known = sorted(name for name in LoggerType.list() if name != "all")
    installed = [str(tracker) for tracker in get_available_trackers()]
    for name in names:
        if name == "none":
            raise UserError("report_to none stands alone: leave it out to report to others")
        if name not in known:
            raise UserError(
                f"report_to {name}: no such tracker{did_you_mean(name, known)} There are: none, {', '.join(known)}"
            )
        if name not in installed:
            package = f"'modeling-resnet50[{name}]'" if kind_of(name).is_extra else name
            raise UserError(
                f"report_to {name}: it is not installed: pip install {package}. Installed are: "
                + ", ".join(["none", *sorted(installed)])
            )


class Tracker:
    """
    Tells trackers how a run goes, and draws it into the run folder. To be entered for as long as the run trains.

    - `first_batch.png`: the first training batch of each start, as the network sees it.
    - `training_curves.png`: after each epoch, in `DRAWING_SHARE` of the time at most.
    - Every `logging_steps`, under `train/`: what `TrainMetrics.since_last` measures, learning rate, norm of the
      gradient before clipping, loss scale, skipped steps, and on a GPU its peak of memory. Only then are values read
      from the device, which waits for it.
    - After each epoch: the row of `metrics.jsonl`.

    A run that is resumed goes on in the same run of its trackers, whose names are in `logs/trackers.json`. A tracker
    that fails is told no more; training goes on.

    Args:
        run: whose pictures and logs they are.
        progress: of that run, for the step.
        report: is told what went wrong, a sentence.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        recipe: TrainingArguments,
        run: RunFolder,
        progress: Progress,
        report: Callable[[str], None],
    ):
        self.accelerator, self.recipe, self.run, self.progress = accelerator, recipe, run, progress
        self.report = report
        self._label_names: list[str] = []
        self._first_batch_comes = True
        self._values: dict[str, Any] = {}
        self._draw_again_at = 0.0
        self._drawn: list[dict[str, Any]] = []

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *error: Any) -> None:
        self._tell(lambda tracker: tracker.finish())
        self.accelerator.trackers.clear()

    def begin(self, label_names: list[str], resumed: bool) -> None:
        """
        To be called when the run folder is this run's.

        Args:
            label_names: of the classes, for the picture of the first batch.
            resumed: whether the run goes on from a checkpoint.

        Raises:
            UserError: a tracker does not start.
        """
        self._label_names = label_names
        if not (self.recipe.trackers and self.accelerator.is_main_process):
            return
        file = self.run.logs / "trackers.json"
        known = json.loads(file.read_text()) if resumed and file.exists() else {}
        name, step = self.run.path.name, self.progress.step
        ids = {tracker: f"{name}-{secrets.token_hex(3)}" for tracker in self.recipe.trackers} | known
        arguments = {
            tracker: kind_of(tracker).init(Start(name, self.run.logs, ids[tracker], tracker in known, step))
            for tracker in self.recipe.trackers
        }
        try:
            self.run.logs.mkdir(parents=True, exist_ok=True)
            self.accelerator.init_trackers(PROJECT, init_kwargs=arguments)
            for tracker in self.accelerator.trackers:
                if tracker.name not in known:
                    tracker.store_init_configuration(self.recipe.flat_dict())
                own_id = kind_of(tracker.name).own_id
                if own_id is not None:
                    ids[tracker.name] = own_id(tracker)
        except Exception as error:  # each library has its own
            names = ", ".join(self.recipe.trackers)
            raise UserError(f"report_to {names}: it does not start: {with_its_class(error)}") from error
        with replaced_file(file) as unfinished:
            unfinished.write_text(json.dumps(ids, indent=1) + "\n")

    def batches(self, loader: Iterable[dict[str, Any]], metrics: TrainMetrics) -> Iterator[dict[str, Any]]:
        """The loader's batches; how long they let training wait goes into the metrics."""
        batches = iter(loader)
        while True:
            begun_at = time.perf_counter()
            batch = next(batches, None)
            metrics.seconds_waited += time.perf_counter() - begun_at
            if batch is None:
                return
            if self._first_batch_comes:
                self._first_batch_comes = False
                self._show(batch)
            yield batch

    def before_step(self, model: nn.Module) -> None:
        """To be called before each optimizer step, and before gradients are clipped."""
        if not self.is_told_of(self.progress.step + 1):
            return
        scaler = self.accelerator.scaler
        scale = 1.0 if scaler is None else scaler.get_scale()
        self._values = {"grad_norm": gradient_norm(model, scale)} | ({} if scaler is None else {"loss_scale": scale})

    def step(self, metrics: TrainMetrics, learning_rate: float) -> None:
        """To be called by all processes after each optimizer step that was taken."""
        step = self.progress.step
        if not self.is_told_of(step):
            return
        values = {
            **metrics.since_last(),
            **self._values,
            "learning_rate": learning_rate,
            "skipped_steps": self.progress.skipped_steps,
        }
        values["grad_norm"] = values["grad_norm"].item()
        if self.accelerator.device.type == "cuda":
            values["gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        named = {f"train/{name}": value for name, value in values.items()}
        self._tell(lambda tracker: tracker.log(named, step=step))

    def epoch(self, row: dict[str, Any]) -> None:
        """To be called after each epoch, when its row is in metrics.jsonl."""
        if not self.accelerator.is_main_process:
            return
        begun_at = time.perf_counter()
        if begun_at >= self._draw_again_at:
            self.draw_curves()
            now = time.perf_counter()
            self._draw_again_at = now + (now - begun_at) / DRAWING_SHARE
        values = {name: value for name, value in row.items() if name != "step"}  # trackers have a word for it
        self._tell(lambda tracker: tracker.log(values, step=self.progress.step))

    def draw_curves(self) -> None:
        """Of all epochs that are over; to be called by the main process, also when the last one is."""
        history = self.run.history()
        if history == self._drawn:
            return
        _, best = self.recipe.best_of(history)
        self._draw(self.run.training_curves, lambda path: draw_training_curves(history, best.epoch, path))
        self._drawn = history

    def is_told_of(self, step: int) -> bool:
        """Whether trackers hear of this optimizer step."""
        return bool(self.recipe.trackers) and step % self.recipe.logging_steps == 0

    def _show(self, batch: dict[str, Any]) -> None:
        if not self.accelerator.is_main_process:
            return
        picture = picture_of(batch, self.recipe, self._label_names)
        self._draw(self.run.first_batch, lambda path: picture.save(path, "png"))
        self._tell(lambda tracker: kind_of(tracker.name).log_image(tracker, _FIRST_BATCH, picture, self.progress.step))

    def _draw(self, path: Path, draw: Callable[[Path], None]) -> None:
        try:
            with replaced_file(path) as unfinished:
                draw(unfinished)
        except OSError as error:  # a full disk must not end the run
            self.report(f"could not write {path} ({with_its_class(error)})")

    def _tell(self, tell: Callable[[GeneralTracker], None]) -> None:
        for tracker in list(self.accelerator.trackers):
            try:
                tell(tracker)
            except Exception as error:  # of whatever library: a run is worth more than its curves
                self.accelerator.trackers.remove(tracker)
                self.report(f"{tracker.name} failed and is told no more ({with_its_class(error)}); training goes on")
