"""What a run shows on the terminal: a live bar within an epoch, a table row after it. Only the main process speaks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .metrics import TrainMetrics


SECONDS_BETWEEN_LINES = 60  # within an epoch, when the output goes to a file

_COLUMNS = {
    "epoch": ("epoch", "{:>5}"),
    "step": ("step", "{:>8}"),
    "learning_rate": ("lr", "{:>9.2e}"),
    "train_loss": ("train loss", "{:>10.4f}"),
    "train_top1": ("train top-1", "{:>10.2f}%"),
    "val_loss": ("val loss", "{:>9.4f}"),
    "val_top1": ("val top-1", "{:>9.2f}%"),
    "val_top5": ("val top-5", "{:>9.2f}%"),
    "average_val_top1": ("average's", "{:>9.2f}%"),
    "images_per_second": ("images/s", "{:>9.1f}"),
}


class TrainingConsole:
    """Progress of a run: bars on a terminal, plain lines where the output is piped to a file."""

    def __init__(self, is_main_process: bool, num_epochs: int, averages: bool = False):
        self.console = Console(quiet=not is_main_process, highlight=False, soft_wrap=True)
        self.num_epochs = num_epochs
        self.averages = averages
        self._header_shown = False
        self._bar: Progress | None = None

    def print(self, text: str = "") -> None:
        self.console.print(text, markup=False)

    @contextmanager
    def epoch(self, epoch: int, num_batches: int, done: int = 0) -> Iterator[None]:
        """Show progress through `num_batches` forward passes, of which some are done; `advance` after each."""
        self._epoch, self._num_batches, self._batches_done, self._start = epoch, num_batches, done, done
        self._shown_at = time.monotonic()
        if self.console.is_terminal and not self.console.quiet:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}/{task.fields[num_epochs]}"),
                BarColumn(bar_width=None),  # what the numbers leave of the line
                TextColumn("{task.completed}/{task.total}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[metrics]}"),
                console=self.console,
                expand=True,
                transient=True,
                refresh_per_second=2,
            )
            self._bar.start()
            fields: dict[str, Any] = {"epoch": epoch, "num_epochs": self.num_epochs, "metrics": ""}
            self._task = self._bar.add_task("", total=num_batches, completed=done, **fields)
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None

    def advance(self, metrics: TrainMetrics, learning_rate: float) -> None:
        """One more batch is done. Metrics are read from the device once a second at most: reading waits for it."""
        self._batches_done += 1
        if self._bar is not None:
            self._bar.advance(self._task)
        now = time.monotonic()
        if self.console.quiet or now - self._shown_at < (1 if self._bar is not None else SECONDS_BETWEEN_LINES):
            return
        self._shown_at = now
        loss, top1, images_per_second = metrics.read()
        text = f"loss {loss:.3f} top-1 {top1:.1%} lr {learning_rate:.1e} {images_per_second:.0f} images/s"
        if self._bar is not None:
            self._bar.update(self._task, metrics=text)
        else:
            pace = metrics.seconds() / (self._batches_done - self._start)
            left = pace * (self._num_batches - self._batches_done)
            self.print(f"epoch {self._epoch}  {self._batches_done}/{self._num_batches}  {text}  {left:.0f} s left")

    def row(self, metrics: dict[str, Any], is_best: bool) -> None:
        """One line of the table; the header comes before the first."""
        shown = {name: 100 * value if "_top" in name else value for name, value in metrics.items()}
        columns = {name: column for name, column in _COLUMNS.items() if name != "average_val_top1" or self.averages}
        cells = [(title, form.format(shown[name]) if name in shown else "") for name, (title, form) in columns.items()]
        if not self._header_shown:
            self._header_shown = True
            self.print("  ".join(title.rjust(len(cell)) for title, cell in cells))
        remarks = [f"{metrics['bad_images']} unreadable images replaced"] if metrics["bad_images"] else []
        remarks += [f"{metrics['skipped_steps']} steps skipped"] if metrics["skipped_steps"] else []
        remarks += [f"{metrics['left_out_steps']} steps left out"] if metrics["left_out_steps"] else []
        remarks += ["best"] if is_best else []
        self.print("  ".join([*(cell.rjust(len(title)) for title, cell in cells), *remarks]))
