"""What differs between trackers: a record for each in `KINDS`, which all else reads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.tracking import GeneralTracker
from PIL import Image


PROJECT = "resnet50"  # what trackers call it


@dataclass(frozen=True)
class Start:
    """
    A start of a run, as a tracker is told of it.

    Attributes:
        run_name: of the run's folder.
        logs: the run's folder for what trackers write.
        id: of the tracker's own run: that of an earlier start, or a new one.
        resumed: whether it is of an earlier start, and the tracker's run is to go on.
        step: optimizer steps that are done.
    """

    run_name: str
    logs: Path
    id: str
    resumed: bool
    step: int


def _as_images(tracker: Any, name: str, image: Image.Image, step: int) -> None:
    if hasattr(tracker, "log_images"):  # Accelerate has no common way to do it
        tracker.log_images({name: [image]}, step)


def _to_tensorboard(tracker: Any, name: str, image: Image.Image, step: int) -> None:
    tracker.log_images({name: np.asarray(image)[None]}, step, dataformats="NHWC")


def _to_trackio(tracker: Any, name: str, image: Image.Image, step: int) -> None:
    import trackio

    tracker.log({name: trackio.Image(image)}, step)


def _to_mlflow(tracker: Any, name: str, image: Image.Image, step: int) -> None:
    import mlflow

    mlflow.log_image(image, key=name, step=step)


@dataclass(frozen=True)
class TrackerKind:
    """
    Attributes:
        is_extra: whether `pip install modeling-resnet50[NAME]` brings it.
        viewer: words of the command that shows what it was told, with `{logs}` among them; none if it says so itself.
        logs: what it writes in the run's folder for that; None: under the id of its run.
        init: what Accelerate is to start it with.
        own_id: asks it for the id of its run; None if it takes the one it is given.
        log_image: shows it a picture, by a name, at a step.
    """

    is_extra: bool = False
    viewer: tuple[str, ...] = ()
    logs: str | None = None
    init: Callable[[Start], dict[str, Any]] = lambda start: {}
    own_id: Callable[[GeneralTracker], str] | None = None
    log_image: Callable[[Any, str, Image.Image, int], None] = _as_images


KINDS = {
    "tensorboard": TrackerKind(
        is_extra=True,
        viewer=("tensorboard", "--logdir", "{logs}"),
        logs=PROJECT,
        # Whatever an earlier start told after the checkpoint happens again.
        init=lambda start: {"purge_step": start.step + 1} if start.resumed else {},
        log_image=_to_tensorboard,
    ),
    "trackio": TrackerKind(
        is_extra=True,
        viewer=("trackio", "show", "--project", PROJECT),
        init=lambda start: {"name": start.id, "resume": "allow"},
        log_image=_to_trackio,
    ),
    "wandb": TrackerKind(
        is_extra=True,
        logs="wandb",
        init=lambda start: {"id": start.id, "name": start.run_name, "resume": "allow", "dir": str(start.logs)},
    ),
    "mlflow": TrackerKind(
        is_extra=True,
        viewer=("mlflow", "ui"),
        init=lambda start: {"run_id": start.id if start.resumed else None, "run_name": start.run_name},
        own_id=lambda tracker: tracker.tracker.info.run_id,
        log_image=_to_mlflow,
    ),
    "aim": TrackerKind(logs=".aim"),
}


def kind_of(name: str) -> TrackerKind:
    """Of a tracker, by Accelerate's name for it; of one that is not in the table, what is usual."""
    return KINDS.get(name, TrackerKind())
