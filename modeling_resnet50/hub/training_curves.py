"""The course of a run as a picture for its card."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter


# Okabe and Ito's colours, which the colour-blind tell apart.
_TRAINING, _VALIDATION, _AVERAGE, _ALONE = "#0072B2", "#D55E00", "#009E73", "#555555"


def draw_training_curves(history: list[dict[str, Any]], best_epoch: int, path: Path) -> None:
    """
    Loss, top-1, learning rate and images per second over the epochs, as a PNG of 1200 × 750 pixels.

    Args:
        history: rows of metrics.jsonl.
        best_epoch: is marked; counted from 1.
        path: the file to write.
    """
    figure = Figure(figsize=(10, 6.25))  # no pyplot, which would want a display
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.08, top=0.95, wspace=0.15, hspace=0.15)  # fast, and enough
    (loss, top1), (learning_rate, speed) = figure.subplots(2, 2, sharex=True)
    _lines(loss, history, {"train_loss": "training", "val_loss": "validation", "average_val_loss": "average"})
    _lines(top1, history, {"train_top1": "training", "val_top1": "validation", "average_val_top1": "average"})
    _lines(learning_rate, history, {"learning_rate": None})
    _lines(speed, history, {"images_per_second": None})
    loss.set_title("loss")
    top1.set_title("top-1")
    top1.yaxis.set_major_formatter(PercentFormatter(1.0))
    learning_rate.set_title("learning rate, at the end of the epoch")
    speed.set_title("images per second, in training")
    for axes in (learning_rate, speed):
        axes.set(xlabel="epoch", ylim=(0, None))
    for axes in (loss, top1, learning_rate, speed):
        axes.axvline(best_epoch, color="black", linestyle=":", linewidth=1, label=f"best: epoch {best_epoch}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (loss, top1):
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120, format="png")


def _lines(axes: Axes, history: list[dict[str, Any]], labels: dict[str, str | None]) -> None:
    """A line for each column that there is; a dot for each epoch if they are few."""
    colours = [_ALONE] if len(labels) == 1 else [_TRAINING, _VALIDATION, _AVERAGE]
    marker = "o" if len(history) <= 20 else None
    for (name, label), colour in zip(labels.items(), colours):
        rows = [row for row in history if name in row]  # an average begins late
        if rows:
            epochs, values = [row["epoch"] for row in rows], [row[name] for row in rows]
            axes.plot(epochs, values, color=colour, marker=marker, markersize=3, label=label)
