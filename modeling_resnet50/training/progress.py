"""Where a run stands, and the file of a checkpoint that says so: `state.json`, by its format number."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from resnet50_recipe.errors import UserError

from .metrics import STATE_OF_METRICS


# Of state.json; to be raised when its names or their meaning change, with a way in `read_state` from those before.
# 0, which is not in the file: before there were numbers. There `setup` was called `layout`.
FORMAT = 1
SETUP = ("processes", "accumulation steps", "precision")


@dataclass
class Progress:
    """
    Where training stands.

    Attributes:
        epoch: epochs completed.
        images: of the epoch that runs, over all processes together; whole optimizer steps.
        step: optimizer steps taken.
        skipped_steps: not taken, because fp16 overflowed. The schedule does not count them.
        left_out: `[epoch, images before it]` of each step that a rollback leaves out.
        layout: of the sampler in the epoch that runs.
    """

    epoch: int = 0
    images: int = 0
    step: int = 0
    skipped_steps: int = 0
    left_out: list[list[int]] = field(default_factory=list)
    layout: list[int] | None = None

    def left_out_of(self, epoch: int) -> list[int]:
        """Steps of an epoch that are left out, each by the images before it."""
        return [images for left_out_epoch, images in self.left_out if left_out_epoch == epoch]


def does_not_fit(checkpoint: Path, what: str) -> UserError:
    """That a changed recipe cannot go on from a checkpoint, as `what` it has is another."""
    return UserError(
        f"{checkpoint} cannot go on under this recipe: its {what} is another. Begin a new run from its weights, "
        f"in another --output_dir: --model_name_or_path {checkpoint / 'model.safetensors'}"
    )


def read_state(checkpoint: Path) -> dict[str, Any]:
    """
    What `state.json` of a checkpoint holds, whichever version wrote it, in the names of today: `format`, `progress`,
    `metrics`, `scaler` and `setup`.

    Raises:
        UserError: a newer version wrote it, or an older one whose names are others: nothing of it would be understood
            by guessing.
    """
    state = json.loads((checkpoint / "state.json").read_text())
    number = state.get("format", 0)
    if number not in range(FORMAT + 1):
        raise UserError(
            f"{checkpoint} is of format {number}, and this version reads those up to {FORMAT}: a newer one wrote it. "
            "Go on with that, or resume from another checkpoint"
        )
    if number == 0 and "layout" in state:
        state["setup"] = state.pop("layout")
    state["format"] = FORMAT
    problems = _unlike(state, ("format", "progress", "metrics", "scaler", "setup"))
    problems += _unlike(state.get("progress"), [each.name for each in fields(Progress)], "progress.")
    problems += _unlike(state.get("setup"), SETUP, "setup.")
    for metrics in state.get("metrics") or []:  # of each process; none between epochs
        problems += _unlike(metrics, STATE_OF_METRICS, "metrics.") if metrics is not None else []
    if problems:
        raise UserError(
            f"{checkpoint} is of another version: in its state.json, {', '.join(dict.fromkeys(problems))}. Go on with "
            "the version that wrote it, whose commit is in environment.json, or resume from another checkpoint"
        )
    return state


def _unlike(found: Any, wanted: Collection[str], place: str = "") -> list[str]:
    """How a dictionary's keys differ from those that it is to have."""
    keys = found if isinstance(found, dict) else {}
    lacking = [f"{place}{name} is missing" for name in wanted if name not in keys]
    return lacking + [f"{place}{name} is unknown" for name in keys if name not in wanted]
