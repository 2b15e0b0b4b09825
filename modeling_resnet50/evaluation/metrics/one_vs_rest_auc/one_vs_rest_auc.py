"""
Areas under the ROC and the precision-recall curve as an `evaluate` metric that needs no network:
`evaluate.load("…/metrics/one_vs_rest_auc")`.
"""

from dataclasses import dataclass
from typing import Any

import datasets
import evaluate
import numpy as np


_DESCRIPTION = (
    "How well a class's score tells its images from all others: area under the ROC curve, and under the "
    "precision-recall curve as average precision, each the mean over the classes (macro) and weighted by their images."
)

_CITATION = """
@article{fawcett2006introduction,
  title = {An introduction to {ROC} analysis},
  author = {Fawcett, Tom},
  journal = {Pattern Recognition Letters},
  year = {2006}
}
"""

_INPUTS = """
Args:
    prediction_scores: for each image, a score for each class, more for a likelier one, as probabilities are.
    references: for each image, its true class index.
    per_class: also give "classes", for each class with images its label, roc_auc and average_precision.

Returns:
    {"roc_auc", "weighted_roc_auc", "average_precision", "weighted_average_precision"}. Only classes with images count;
    where all images are of one class, roc_auc is NaN.

Example:
    >>> metric.compute(prediction_scores=[[0.9, 0.1], [0.4, 0.6], [0.6, 0.4]], references=[0, 1, 1])["roc_auc"]
    1.0
"""


class OneVsRestAUC(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "prediction_scores": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Value("float64"),
                }
            ),
        )

    def _compute(self, prediction_scores: Any, references: Any, per_class: bool = False) -> dict[str, Any]:
        scores, references = np.asarray(prediction_scores), _classes(references)
        labels, images = np.unique(references, return_counts=True)
        classes = []
        for label in labels:
            ranking = Ranking.of(scores[:, label], references == label)
            areas = {"roc_auc": ranking.roc_auc(), "average_precision": ranking.average_precision()}
            classes.append({"label": int(label), **areas})
        return mean_areas(classes, images) | ({"classes": classes} if per_class else {})


def _classes(numbers: Any) -> np.ndarray:
    """
    As int64. They are declared as float64: of int64, `evaluate` would cut probabilities off to classes in silence.

    Raises:
        ValueError: not class indices.
    """
    numbers = np.asarray(numbers, np.float64)
    if (numbers != np.floor(numbers)).any():
        raise ValueError("predictions and references are class indices, not scores: (-scores).argsort(-1) gives them")
    return numbers.astype(np.int64)


def mean_areas(classes: list[dict[str, Any]], images: np.ndarray) -> dict[str, float]:
    """Means over the classes, plain and by their images, of the areas in their rows."""
    means = {}
    for name in ("roc_auc", "average_precision"):
        areas = [row[name] for row in classes]
        means[name] = float(np.mean(areas))
        means[f"weighted_{name}"] = float(np.average(areas, weights=images))
    return means


@dataclass(frozen=True)
class Ranking:
    """
    What is found when all above a threshold is taken, for each threshold that makes a difference, from the highest.

    Attributes:
        thresholds: `(thresholds,)`; a score of at least so much is taken.
        hits, misses: int `(thresholds,)`: positives and negatives among what is taken.
    """

    thresholds: np.ndarray
    hits: np.ndarray
    misses: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray) -> "Ranking":
        """
        Args:
            scores: `(images,)`.
            positive: bool `(images,)`.
        """
        order = np.argsort(-scores, kind="stable")
        in_order = scores[order]
        last = np.append(np.flatnonzero(np.diff(in_order)), len(scores) - 1)  # equal scores are taken together
        hits = np.cumsum(positive[order])[last]
        return cls(in_order[last], hits, last + 1 - hits)

    @property
    def recall(self) -> np.ndarray:
        """Share of the positives that is taken; the ROC's true positive rate."""
        return self.hits / self.hits[-1]

    @property
    def false_positive_rate(self) -> np.ndarray:
        """Share of the negatives that is taken."""
        return self.misses / self.misses[-1]

    @property
    def precision(self) -> np.ndarray:
        """Share of positives in what is taken."""
        return self.hits / (self.hits + self.misses)

    def roc_auc(self) -> float:
        """Chance that a positive has a higher score than a negative; NaN without any of either."""
        if not self.hits[-1] or not self.misses[-1]:
            return float("nan")
        hits, misses = (np.append(0.0, rates) for rates in (self.recall, self.false_positive_rate))
        return float(np.trapezoid(hits, misses))

    def average_precision(self) -> float:
        """Area under the precision-recall curve, in steps: between its points, lines would promise too much."""
        return float(np.diff(self.recall, prepend=0.0) @ self.precision)
