"""Which weights of a run are meant: those that were trained, or their average, and after which epoch."""

from dataclasses import dataclass
from typing import Any


AVERAGE = "average_"  # begins the names of what metrics.jsonl says of averaged weights


@dataclass(frozen=True)
class Weights:
    """
    Attributes:
        epoch: the epoch they come from, counted from 1; 0: there are none.
        averaged: whether they are the average (EMA or SWA).
    """

    epoch: int
    averaged: bool = False

    def column(self, name: str) -> str:
        """Of metrics.jsonl: `val_top1` is `average_val_top1` of averaged weights."""
        return f"{AVERAGE}{name}" if self.averaged else name

    def row(self, history: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Of metrics.jsonl, that of their epoch, if it is there."""
        return next((row for row in history if row["epoch"] == self.epoch), None)
