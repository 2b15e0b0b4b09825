"""The last steps of a run, on the disk: what to look at when numbers have gone wrong and no tracker listened."""

import json
import math
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..files import replaced_file


LENGTH = 1000  # steps that are kept


class RecentSteps:
    """
    Loss, learning rate and norm of the gradient of each step, as this process knows them: in memory, until `write`
    puts them behind those of before in a file of `LENGTH` lines at most.
    """

    def __init__(self) -> None:
        self._steps: deque[dict[str, Any]] = deque(maxlen=LENGTH)  # that are in no file yet
        self._norm: Callable[[], float] | None = None

    def add(self, step: int, loss: float, learning_rate: float) -> None:
        """
        Args:
            step: the number that it has if the optimizer takes it.
            loss: of this process's images.
        """
        self._ask_for_norm()
        self._steps.append({"step": step, "loss": as_json(loss), "learning_rate": learning_rate})

    def gradient_norm(self, norm: Callable[[], float]) -> None:
        """
        Of the step that was added last.

        Args:
            norm: gives it. It is asked when the next step is added, and does not have to be waited for any more.
        """
        self._norm = norm

    def skipped(self) -> None:
        """fp16 overflowed in the step that was added last, and it was not taken."""
        if self._steps:
            self._steps[-1]["skipped"] = True

    def write(self, path: Path) -> None:
        """To be called now and then: at checkpoints, when numbers have gone wrong, and when the run ends."""
        self._ask_for_norm()
        if not self._steps:
            return
        before = path.read_text(errors="replace").splitlines() if path.exists() else []
        lines = [*before, *map(json.dumps, self._steps)][-LENGTH:]
        with replaced_file(path) as unfinished:
            unfinished.write_text("".join(f"{line}\n" for line in lines))
        self._steps.clear()

    def _ask_for_norm(self) -> None:
        if self._norm is not None and self._steps:
            self._steps[-1]["gradient_norm"] = as_json(self._norm())
        self._norm = None


def as_json(value: float) -> float | str:
    """A number; what JSON has no number for, as a word: nan, inf."""
    return value if math.isfinite(value) else str(value)
