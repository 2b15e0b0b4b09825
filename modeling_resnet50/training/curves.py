"""The course of a run, or of several, as a picture."""

import json
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

from resnet50_recipe.terminal import printable
from resnet50_recipe.weights import AVERAGE, Weights


# Okabe and Ito's colours, which the colour-blind tell apart.
_TRAINING, _VALIDATION, _AVERAGE, _ALONE = "#0072B2", "#D55E00", "#009E73", "#555555"
_SEVERAL = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_FEW_EPOCHS = 20  # so few are dots


class Course(NamedTuple):
    """
    A run as it is drawn.

    Attributes:
        history: rows of metrics.jsonl.
        best: weights, whose columns are drawn and whose epoch is marked.
    """

    history: list[dict[str, Any]]
    best: Weights


def draw_training_curves(history: list[dict[str, Any]], best_epoch: int, path: Path) -> None:
    """
    Loss, top-1, learning rate and images per second over the epochs, as a PNG of 1200 × 780 pixels.

    Args:
        history: rows of metrics.jsonl.
        best_epoch: is marked; counted from 1.
        path: the file to write.
    """
    path.write_bytes(_training_curves(json.dumps(history), best_epoch))  # what can be cached cannot be a list


@lru_cache(maxsize=1)  # run folder and card want the same picture at the same time, and a drawing takes 0.2 s
def _training_curves(history_as_json: str, best_epoch: int) -> bytes:
    history = json.loads(history_as_json)
    figure, (loss, top1, learning_rate, speed) = _four_axes(legend_rows=1)
    _lines(loss, history, {"train_loss": "training", "val_loss": "validation", f"{AVERAGE}val_loss": "average"})
    _lines(top1, history, {"train_top1": "training", "val_top1": "validation", f"{AVERAGE}val_top1": "average"})
    _lines(learning_rate, history, {"learning_rate": None})
    _lines(speed, history, {"images_per_second": None})
    for axes in (loss, top1, learning_rate, speed):
        axes.axvline(best_epoch, color="black", linestyle=":", linewidth=1, label=f"best: epoch {best_epoch}")
    # Above all four: within them, it would lie over a line sooner or later.
    figure.legend(*loss.get_legend_handles_labels(), loc="upper center", ncols=4, frameon=False)
    return _png(figure)


def draw_comparison(courses: dict[str, Course], path: Path) -> None:
    """
    The same for several runs, a colour each: validation solid, training dotted, a star at the best epoch.

    Args:
        courses: runs by the names to call them.
        path: the PNG to write, of 1200 × 750 pixels, and a line more for every three runs.
    """
    import matplotlib

    rows = -(-len(courses) // 3)
    figure, (loss, top1, learning_rate, speed) = _four_axes(legend_rows=rows)
    colours: Sequence[Any] = _SEVERAL
    if len(courses) > len(colours):
        colours = list(matplotlib.colormaps["turbo"].resampled(len(courses))(range(len(courses))))
    handles = []
    for course, colour in zip(courses.values(), colours):
        for axes, name in ((loss, "loss"), (top1, "top1")):
            _line(axes, course.history, f"train_{name}", color=colour, linestyle=":", linewidth=1)
            column, row = course.best.column(f"val_{name}"), course.best.row(course.history)
            _line(axes, course.history, column, color=colour)
            if row is not None:
                axes.plot(course.best.epoch, row[column], "*", color=colour, markersize=11)
        handles.append(_line(learning_rate, course.history, "learning_rate", color=colour))
        _line(speed, course.history, "images_per_second", color=colour)
    loss.set_title("loss: training dotted, validation solid, ★ best epoch")
    names = [printable(name).replace("$", r"\$") for name in courses]  # of folders, and no formulas
    figure.legend(handles, names, loc="upper center", ncols=3, frameon=False)
    path.write_bytes(_png(figure))


def _four_axes(legend_rows: int = 0) -> "tuple[Figure, list[Axes]]":
    """Loss, top-1, learning rate and images per second."""
    # Half a second, which neither a model that is opened nor the first training step need wait for.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    inches = 6.25 + 0.25 * legend_rows
    figure = Figure(figsize=(10, inches))  # no pyplot, which would want a display
    top = 1 - (0.3125 + 0.25 * legend_rows) / inches
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.5 / inches, top=top, wspace=0.17, hspace=0.15)
    axes = list(figure.subplots(2, 2, sharex=True).flat)
    loss, top1, learning_rate, speed = axes
    loss.set_title("loss")
    top1.set_title("top-1")
    top1.yaxis.set_major_formatter(PercentFormatter(1.0))
    learning_rate.set_title("learning rate, at the end of the epoch")
    speed.set_title("images per second, in training")
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in (learning_rate, speed):
        axis.set_xlabel("epoch")
    return figure, axes


def _png(figure: "Figure") -> bytes:
    for axes in figure.axes[2:]:
        axes.set_ylim(0, None)  # once the lines are there
    picture = BytesIO()
    figure.savefig(picture, dpi=120, format="png")
    return picture.getvalue()


def _lines(axes: "Axes", history: list[dict[str, Any]], labels: dict[str, str | None]) -> None:
    """A line for each column that there is."""
    colours = [_ALONE] if len(labels) == 1 else [_TRAINING, _VALIDATION, _AVERAGE]
    for (name, label), colour in zip(labels.items(), colours):
        _line(axes, history, name, color=colour, label=label)


def _line(axes: "Axes", history: list[dict[str, Any]], name: str, **style: Any) -> Any:
    """A column over the epochs that have it: an average begins late. None if none has."""
    rows = [row for row in history if name in row]
    if not rows:
        return None
    marker = "o" if len(history) <= _FEW_EPOCHS else None
    epochs, values = [row["epoch"] for row in rows], [row[name] for row in rows]
    return axes.plot(epochs, values, marker=marker, markersize=3, **style)[0]
