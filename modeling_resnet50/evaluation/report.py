"""An evaluation as one HTML file to look at: what went right, what went wrong, and in front of which pictures."""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

from resnet50_recipe.errors import UserError
from resnet50_recipe.words import says_something

from ..web_page import data_address, thumbnail, write_page
from .class_files import draw_curves, save_figure
from .class_report import SHOWN_AVERAGES
from .grad_cam import overlay
from .metrics.expected_calibration_error.expected_calibration_error import reliability_bins
from .predictions import Predictions, share_in_words
from .statistics import allowed_digits, class_accuracies, confusions, log_probabilities, top_classes
from .suites import score_parts


_BINS = 15  # of the confidence, as usual for the expected calibration error
_MOST_BARS = 40  # of more classes, only the worst and the best are named
_NAMED = 20
_PAIRS, _OF_A_PAIR = 12, 3
_PICTURES = 20
_EXPLAINED = 12  # half of them right
_SMALL, _LARGE = 96, 160  # pixels
_GREY = "#888"  # to be read on white and on black
_STYLE: dict[Any, Any] = {
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "text.color"), _GREY),
    "svg.hashsalt": "the same figure, the same file",
    "svg.fonttype": "none",  # the browser has fonts for more letters
}

_PERCENT, _NUMBER, _COUNT = "{:.2%}", "{:.4f}", "{:,}"
_COLUMNS = {
    "images": ("images", _COUNT),
    "top1": ("top-1", _PERCENT),
    "top5": ("top-5", _PERCENT),
    "loss": ("loss", _NUMBER),
    **{key: (title, _NUMBER) for key, title in SHOWN_AVERAGES.items()},
    "ece": ("ECE", _PERCENT),
    "temperature": ("temperature", _NUMBER),
    "loss_at_temperature": ("loss at it", _NUMBER),
    "ece_at_temperature": ("ECE at it", _PERCENT),
    "images_per_second": ("images/s", "{:,.1f}"),
}
_CLASS_SCORES = ("precision", "recall", "f1", "roc_auc", "average_precision")
_SUITE_SCORES = {
    "mce": ("mCE", _PERCENT),
    "ce": ("CE", _PERCENT),
    "error": ("error", _PERCENT),
    "top1": ("top-1", _PERCENT),
    "top5": ("top-5", _PERCENT),
    "top1_of_113": ("top-1 of 113", _PERCENT),
    "top5_of_113": ("top-5 of 113", _PERCENT),
    "images": ("images", _COUNT),
    "images_expected": ("expected", _COUNT),
}


def write_report(
    path: Path,
    named: dict[str, Predictions],
    images: Callable[[int], Image.Image],
    results: dict[str, Any],
    cam: Callable[[int, int], np.ndarray] | None = None,
) -> None:
    """
    One self-contained file: the numbers of all models side by side, how far their confidence can be trusted, and for
    the first model its classes, its confusions, its worst mistakes, and where it looked.

    Args:
        path: the file; one that is there is replaced.
        named: what each model said, by its name, of the same images.
        images: the picture of a row, as the model saw it: resized and cropped.
        results: as `resnet50 evaluate` writes them to results.json. What is missing there is left out here.
        cam: `(row, class)` to a heat map, float `(height, width)`, 0 to 1, which fits the picture; see `grad_cam`.

    Raises:
        UserError: no model, no image, or models that were shown different images.
    """
    if not named:
        raise UserError("a report needs the predictions of a model")
    first = next(iter(named.values()))
    if not len(first.labels):
        raise UserError("a report needs at least one image")
    for name, predictions in named.items():
        if not np.array_equal(predictions.labels, first.labels):
            raise UserError(f"{name} was judged by other images than {next(iter(named))}: they need two reports")
    judged = {name: _Judged(predictions) for name, predictions in named.items()}
    detailed = next(iter(judged.values()))
    classes = _classes(detailed)
    pictures = _Pictures(detailed, images)
    models = results.get("models", {})
    write_page(
        path,
        files(__package__).joinpath("report.html"),
        names=list(named),
        dataset=results.get("dataset", {}),
        headline=_headline(named, models),
        protocols={name: models[name]["protocol"] for name in named if models.get(name, {}).get("protocol")},
        comparisons=results.get("comparisons", []),
        suites=_suites({name: models.get(name, {}).get("suites", {}) for name in named}),
        absent=results.get("suites_absent", {}),
        reliability={name: _reliability(model) for name, model in judged.items()},
        classes=classes,
        bar_titles=[f"{row['name']}: {row['correct']} of {row['images']}" for row in classes],
        all_named=len(classes) <= _MOST_BARS,
        named_classes=_NAMED,
        **_of_its_results(models.get(next(iter(named)), {})),
        matrix=_matrix(detailed),
        pairs=_pairs(detailed, pictures),
        hardest=[pictures(row) for row in np.argsort(detailed.log_likelihood, kind="stable")[:_PICTURES]],
        overconfident=[pictures(row) for row in detailed.wrong_rows[:_PICTURES]],
        explained=list(_explained(detailed, images, cam)) if cam else [],
        versions=results.get("versions", {}),
    )


@dataclass
class _Judged:
    """What follows from the predictions of one model, image by image."""

    predictions: Predictions

    def __post_init__(self):
        self.predicted = top_classes(self.predictions, 1)[:, 0]
        self.log_likelihood, self.confidence = log_probabilities(self.predictions)
        self.correct = self.predicted == self.predictions.labels

    @cached_property
    def wrong_rows(self) -> np.ndarray:
        """The most confident first."""
        rows = np.flatnonzero(~self.correct)
        return rows[np.argsort(-self.confidence[rows], kind="stable")]

    def name(self, label: int) -> str:
        return str(self.predictions.label_names[label])


class _Pictures:
    """A row's thumbnail with what is written under it. Each is made once, however often it is shown."""

    def __init__(self, model: _Judged, images: Callable[[int], Image.Image]):
        self.model, self.images = model, images
        self.thumbnails: dict[int, str] = {}

    def __call__(self, row: int) -> dict[str, Any]:
        row = int(row)
        if row not in self.thumbnails:
            self.thumbnails[row] = thumbnail(self.images(row), _SMALL)
        return {"data": self.thumbnails[row], **_caption(self.model, row)}


def _caption(model: _Judged, row: int) -> dict[str, Any]:
    return {
        "row": row,
        "true": model.name(model.predictions.labels[row]),
        "predicted": model.name(model.predicted[row]),
        "correct": bool(model.correct[row]),
        "confidence": share_in_words(model.confidence[row]),
        "likelihood": share_in_words(math.exp(model.log_likelihood[row])),
    }


def _headline(named: dict[str, Predictions], models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A table: the titles of all numbers that any model has, and each model's, with its interval, in their order."""
    numbers = {}
    for name, predictions in named.items():
        model = models.get(name, {})
        metrics: dict[str, Any] = {}
        for metric, value in (model.get("metrics") or {}).items():
            metrics |= value if isinstance(value, dict) else {metric: value}
        numbers[name] = {**metrics, **{key: model.get(key) for key in _COLUMNS}, "images": len(predictions.labels)}
        if not says_something(5, len(predictions.label_names)):
            numbers[name]["top5"] = None
    columns: dict[str, tuple[str, str | None]] = dict(_COLUMNS)
    for values in numbers.values():
        columns |= {key: (key, None) for key in values if key not in columns}
    columns = {key: column for key, column in columns.items() if any(n.get(key) is not None for n in numbers.values())}
    return {
        "titles": [title for title, _ in columns.values()],
        "rows": [
            [_cell(n.get(key), form, n["images"]) for key, (_, form) in columns.items()] for n in numbers.values()
        ],
    }


def _cell(value: Any, form: str | None, images: int) -> dict[str, str]:
    interval = value if isinstance(value, dict) else {"value": value}
    low, high = interval.get("low"), interval.get("high")
    if form == _PERCENT and low is not None and high is not None:
        form = f"{{:.{allowed_digits(interval, images)}%}}"
    between = "" if low is None or high is None else f"{_text(low, form)} to {_text(high, form)}"
    return {"value": _text(interval.get("value"), form), "range": between}


def _text(value: Any, form: str | None = None) -> str:
    if value is None:
        return ""
    return form.format(value) if form else f"{value:.4g}" if isinstance(value, float) else str(value)


def _suites(scores: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table: a suite, or a part of one, and what each model scores there."""
    rows: dict[str, dict[str, str]] = {}
    for model, suites in scores.items():
        for suite, score in suites.items():
            for title, numbers in score_parts(suite, score):
                known = [f"{_SUITE_SCORES[key][0]} {_text(numbers[key], _SUITE_SCORES[key][1])}"
                         for key in _SUITE_SCORES if key in numbers]  # fmt: skip
                if known:
                    rows.setdefault(title, {})[model] = ", ".join(known)
    return [{"title": title, "cells": [cells.get(model, "") for model in scores]} for title, cells in rows.items()]


def _reliability(model: _Judged) -> str:
    """A diagram of the bins, and below it how often each confidence occurs."""
    bins = [row for row in reliability_bins(model.confidence, model.correct) if row["images"]]
    low, accuracy, confidence = ([row[key] for row in bins] for key in ("low", "accuracy", "confidence"))
    share = [row["images"] / len(model.correct) for row in bins]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.2, 4.6), layout="constrained")
        shown, how_often = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        shown.bar(low, accuracy, width=0.92 / _BINS, align="edge", color="#3b7dd8")
        shown.plot([0, 1], [0, 1], linestyle=":", color=_GREY)
        shown.plot(confidence, accuracy, "o", markersize=4, color="#e90", clip_on=False)
        shown.set(ylabel="right", xlim=(0, 1), ylim=(0, 1))
        how_often.bar(low, share, width=0.92 / _BINS, align="edge", color=_GREY)
        how_often.set(xlabel="confidence", ylabel="images")
        for axis in (shown.yaxis, how_often.yaxis, how_often.xaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        return _as_svg(figure)


def _as_svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    save_figure(figure, buffer, format="svg", transparent=True, metadata={"Date": None})
    return data_address(buffer.getvalue(), "image/svg+xml")


def _of_its_results(result: dict[str, Any]) -> dict[str, Any]:
    """What is shown as results.json has it."""
    return {
        "scores": _scores(result),
        "curves": _class_curves(result),
        "coverage": result.get("coverage", [])[1::2],
        **{name: result.get(name) for name in ("probe", "threshold", "foreign")},
    }


def _class_curves(result: dict[str, Any]) -> str | None:
    if "curves" not in result:
        return None
    with matplotlib.rc_context(_STYLE):
        return _as_svg(draw_curves(result["curves"], result["coverage"]))


def _scores(result: dict[str, Any]) -> list[list[str]]:
    """A table of the classes with the lowest F1 first; of many, the first ones only."""
    rows = sorted((row for row in result.get("classes", []) if "f1" in row), key=lambda row: row["f1"])
    return [
        [row["name"], f"{row['images']:,}", *(_text(row[key], "{:.3f}") for key in _CLASS_SCORES)]
        for row in rows[: _MOST_BARS if len(rows) <= _MOST_BARS else _NAMED]
    ]


def _matrix(model: _Judged) -> dict[str, Any]:
    """The confusion matrix, for the page's script: only what is not 0, as row, column, count, row, …"""
    pairs = np.stack([model.predictions.labels, model.predicted])
    places, counts = np.unique(pairs, axis=1, return_counts=True)
    return {
        "names": list(map(str, model.predictions.label_names)),
        "cells": np.vstack([places, counts]).T.ravel().tolist(),
    }


def _classes(model: _Judged) -> list[dict[str, Any]]:
    """Each class that occurs, the worst first."""
    rows = class_accuracies(model.predictions.labels, model.correct, model.predictions.label_names)
    return sorted(({**row, "percent": round(100 * row["top1"], 2)} for row in rows), key=lambda row: row["percent"])


def _pairs(model: _Judged, pictures: _Pictures) -> list[dict[str, Any]]:
    """The classes most often taken for one another class, with the most confident of these mistakes."""
    labels, rows = model.predictions.labels, model.wrong_rows
    images = np.bincount(labels)
    pairs = []
    for pair in confusions(labels, model.predicted, model.predictions.label_names)[:_PAIRS]:
        mistaken = (labels[rows] == pair["label"]) & (model.predicted[rows] == pair["predicted_label"])
        shown = [pictures(row) for row in rows[mistaken][:_OF_A_PAIR]]
        pairs.append({**pair, "of": int(images[pair["label"]]), "pictures": shown})
    return pairs


def _explained(
    model: _Judged, images: Callable[[int], Image.Image], cam: Callable[[int, int], np.ndarray]
) -> Iterator[dict[str, Any]]:
    """Of some images, the same for the same predictions: what spoke for the answer and, where wrong, for the truth."""
    draw = np.random.default_rng(0).permutation(len(model.correct))
    wrong, right = draw[~model.correct[draw]], draw[model.correct[draw]]
    half = _EXPLAINED // 2
    for row in [*right[: max(half, _EXPLAINED - len(wrong))], *wrong[: max(half, _EXPLAINED - len(right))]]:
        picture = images(int(row))
        labels = dict.fromkeys([int(model.predicted[row]), int(model.predictions.labels[row])])
        maps = [
            {"name": model.name(label), "data": thumbnail(overlay(picture, cam(int(row), label)), _LARGE)}
            for label in labels
        ]
        yield {"data": thumbnail(picture, _LARGE), "maps": maps, **_caption(model, row)}
