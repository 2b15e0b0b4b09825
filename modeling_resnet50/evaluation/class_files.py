"""Files of an evaluation for other programs, and pictures to put elsewhere: confusion matrix, curves."""

import csv
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter

from resnet50_recipe.terminal import printable

from ..data.notes import say_note
from ..files import replaced_file
from .class_report import CURVE_POINTS
from .metrics.confusion_matrix.confusion_matrix import confusion_matrix
from .predictions import Predictions
from .statistics import top_classes


_MOST_CLASSES = 4000  # of more, the matrix takes gigabytes
_MOST_NAMES = 40  # at the sides of a picture
_MOST_NUMBERS = 20  # classes, for the counts to be written into the picture
_NAME_LENGTH = 24  # characters
_PIXELS = 960  # that the matrix has at least; each class has a whole number of them


def write_class_files(folder: Path, predictions: Predictions, result: dict[str, Any]) -> None:
    """
    Write `curves.png` and, of up to 4000 classes, `confusion_matrix.csv` and `confusion_matrix.png`.

    Args:
        folder: exists, or is made.
        predictions: of one model.
        result: its entry of `models` in a results.json.
    """
    names = predictions.label_names
    drawn = {"curves.png": draw_curves(result["curves"], result["coverage"])}
    if len(names) <= _MOST_CLASSES:
        matrix = confusion_matrix(predictions.labels, top_classes(predictions, 1)[:, 0], len(names))
        with replaced_file(folder / "confusion_matrix.csv") as path:
            write_confusion_matrix(path, matrix, names)
        drawn["confusion_matrix.png"] = draw_confusion_matrix(matrix, names)
    boxes = []
    for name, figure in drawn.items():
        with replaced_file(folder / name) as path:
            boxes += [name] * save_figure(figure, path, format="png")
    if boxes:
        say_note(f"{', '.join(boxes)}: boxes stand for letters of class names that no font has which matplotlib finds")


def save_figure(figure: Figure, to: Path | BinaryIO, **settings: Any) -> bool:
    """
    `Figure.savefig`, without a warning for each letter.

    Returns:
        Whether there are letters that no font has, and boxes stand in their place.
    """
    with warnings.catch_warnings(record=True) as missing:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", "Glyph .* missing from font")
        figure.savefig(to, **settings)
    return bool(missing)


def write_confusion_matrix(path: Path, matrix: np.ndarray, label_names: list[str]) -> None:
    """A line for each true class, a column for each predicted one, with their names."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["true \\ predicted", *label_names])
        rows.writerows([name, *counts] for name, counts in zip(label_names, matrix.tolist()))


def draw_confusion_matrix(matrix: np.ndarray, label_names: list[str]) -> Figure:
    """Shares of each true class's images, on a logarithmic scale, so that the rare mistakes are seen as well."""
    few = len(matrix) <= _MOST_NAMES
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = len(matrix) * -(-_PIXELS // len(matrix)) / 100
    margin = 2.2 if few else 0.9
    figure = Figure(figsize=(side + margin + 1.2, side + margin + 0.3), dpi=100)
    width, height = figure.get_size_inches()
    axes = figure.add_axes((margin / width, margin / height, side / width, side / height))
    least = min(0.5, shares[shares > 0].min(initial=1))
    image = axes.imshow(
        np.ma.masked_equal(shares, 0), cmap="viridis_r", norm=LogNorm(least, 1), interpolation="nearest"
    )
    axes.set(xlabel="predicted", ylabel="true")
    if few:
        names = [_short(name) for name in label_names]
        axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(matrix) <= _MOST_NUMBERS:
        for row, column in zip(*np.nonzero(matrix)):
            colour = "white" if shares[row, column] > 0.3 else "black"
            axes.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=colour)
    beside = figure.add_axes(((margin + side + 0.15) / width, margin / height, 0.2 / width, side / height))
    percent = PercentFormatter(1, decimals=None)
    figure.colorbar(image, cax=beside, format=percent)
    beside.yaxis.set_minor_formatter(percent if least >= 0.1 else NullFormatter())  # within a decade, these are all
    return figure


def draw_curves(curves: list[dict[str, Any]], coverage: list[dict[str, Any]]) -> Figure:
    """
    ROC, precision-recall and coverage-accuracy curves, side by side.

    Args:
        curves: as `class_report` gives them.
        coverage: as `coverage_table` gives it.
    """
    figure = Figure(figsize=(15, 5), dpi=100, layout="constrained")
    roc, precision, answered = figure.subplots(1, 3)
    for curve in reversed(curves):  # the mean lies above the others
        of_all = curve["label"] is None
        style: dict[str, Any] = {"color": "#3b7dd8", "linewidth": 3} if of_all else {"linewidth": 1}
        label = printable(curve["name"]) if of_all else _short(curve["name"])
        roc.plot(CURVE_POINTS, _numbers(curve["tpr"]), label=label.replace("$", r"\$"), **style)
        precision.plot(CURVE_POINTS, _numbers(curve["precision"]), **style)
    roc.plot([0, 1], [0, 1], color="grey", linestyle=":")
    shares, right = zip(*((row["coverage"], row["accuracy"]) for row in coverage))
    answered.plot(shares, right, "o-", color="#3b7dd8", clip_on=False)
    _name_axes(roc, "ROC, each class against the rest", "false positive rate", "true positive rate")
    _name_axes(precision, "precision and recall", "recall", "precision")
    _name_axes(answered, "only the most confident answers", "coverage: share of images answered", "accuracy")
    roc.legend(loc="lower right", frameon=False, fontsize="small", reverse=True)
    return figure


def _name_axes(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))


def _numbers(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _short(name: str) -> str:
    name = printable(str(name))
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
