"""What an evaluation says of each class, and on average over the classes. Pure functions."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .metrics.classification_report.classification_report import ClassCounts
from .metrics.one_vs_rest_auc.one_vs_rest_auc import Ranking, mean_areas
from .predictions import Predictions
from .statistics import top_classes


CURVE_POINTS = np.linspace(0, 1, 101)  # false positive rates, and recalls, at which curves are told
AVERAGES = (
    *(f"{mean}_{name}" for mean in ("macro", "weighted") for name in ("precision", "recall", "f1")),
    "balanced_accuracy",
    "cohen_kappa",
    "roc_auc",
    "average_precision",
)
SHOWN_AVERAGES = {  # where there is little room
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "cohen_kappa": "Cohen's kappa",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
}
MOST_CURVES = 20  # of more classes, only their mean


def class_report(predictions: Predictions) -> dict[str, Any]:
    """
    Scores of the classes, one against the rest, from the most likely classes and from the probabilities.

    Args:
        predictions: at least one image.

    Returns:
        - `macro_precision`, `macro_recall`, `macro_f1`, `weighted_…`, `balanced_accuracy`, `cohen_kappa`: see
          `ClassCounts.averages`.
        - `roc_auc`, `average_precision`, means over the classes with images, and `weighted_…`, by their images.
        - `classes`: for each class with images `{"label", "name", "images", "correct", "top1", "precision", "recall",
          "f1", "roc_auc", "average_precision"}`.
        - `curves`: `{"label", "name", "tpr", "precision"}`, first, without label, the mean of the classes, and then
          each of up to 20: the ROC curve's true positive rates at the false positive rates 0, 0.01, …, 1, and the
          precisions where the recall has reached these values.
    """
    names = predictions.label_names
    counts = ClassCounts(predictions.labels, top_classes(predictions, 1)[:, 0])
    rows, curves = [], []
    of_label = {row["label"]: row for row in counts.classes()}
    for label, ranking in _rankings(predictions):
        correct = int(counts.correct[label])
        areas = {"roc_auc": ranking.roc_auc(), "average_precision": ranking.average_precision()}
        more = {"name": names[label], "correct": correct, "top1": of_label[label]["recall"]}
        rows.append(of_label[label] | more | areas)
        curves.append((label, _curves(ranking)))
    means = {"label": None, "name": "mean of the classes"} | _as_lists(np.mean([curve for _, curve in curves], axis=0))
    each = [{"label": label, "name": names[label]} | _as_lists(curve) for label, curve in curves]
    return {
        **counts.averages(),
        **mean_areas(rows, np.array([row["images"] for row in rows])),
        "classes": rows,
        "curves": [means, *(each if len(each) <= MOST_CURVES else [])],
    }


def _rankings(predictions: Predictions) -> Iterator[tuple[int, Ranking]]:
    """For each class with images, its label and all images in the order of its probability."""
    parts = torch.from_numpy(predictions.logits).split(256)
    normalizers = torch.cat([part.double().logsumexp(1) for part in parts]).numpy()
    for label in np.unique(predictions.labels):
        # Logarithms tell apart what in probabilities would be 1.
        yield int(label), Ranking.of(predictions.logits[:, label] - normalizers, predictions.labels == label)


def _curves(ranking: Ranking) -> np.ndarray:
    """True positive rates and precisions at `CURVE_POINTS`, `(2, points)`."""
    rates = np.full(len(CURVE_POINTS), np.nan)
    if ranking.misses[-1]:
        xs, ys = (np.append(0.0, values) for values in (ranking.false_positive_rate, ranking.recall))
        rates = np.interp(CURVE_POINTS, xs, ys)
    reached = np.searchsorted(ranking.recall, np.maximum(CURVE_POINTS - 1e-9, 1e-9))
    return np.stack([rates, ranking.precision[np.minimum(reached, len(ranking.recall) - 1)]])


def _as_lists(curves: np.ndarray) -> dict[str, list[float]]:
    """Shortened: they are drawn, and the areas are told exactly."""
    return {name: [round(value, 4) for value in values.tolist()] for name, values in zip(("tpr", "precision"), curves)}
