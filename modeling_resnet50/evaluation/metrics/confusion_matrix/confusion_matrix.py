"""Confusion matrix as an `evaluate` metric that needs no network: `evaluate.load("…/metrics/confusion_matrix")`."""

from typing import Any

import datasets
import evaluate
import numpy as np


_DESCRIPTION = (
    "How many images of each class were taken for each class: rows are true classes, columns predicted ones."
)

_INPUTS = """
Args:
    predictions: for each image, the most likely class, or class indices with the most likely first.
    references: for each image, its true class index.
    num_labels: number of classes. Default: as many as occur.

Returns:
    {"confusion_matrix": a list of rows}.

Example:
    >>> metric.compute(predictions=[0, 1, 1], references=[0, 0, 1])
    {'confusion_matrix': [[1, 1], [0, 1]]}
"""


class ConfusionMatrix(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=[
                datasets.Features({"predictions": predictions, "references": datasets.Value("float64")})
                for predictions in (datasets.Sequence(datasets.Value("float64")), datasets.Value("float64"))
            ],
        )

    def _compute(self, predictions: Any, references: Any, num_labels: int | None = None) -> dict[str, Any]:
        predictions, references = _classes(predictions), _classes(references)
        if predictions.ndim == 2:
            predictions = predictions[:, 0]
        num_labels = num_labels or 1 + int(max(predictions.max(), references.max()))
        return {"confusion_matrix": confusion_matrix(references, predictions, num_labels).tolist()}


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


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_labels: int) -> np.ndarray:
    """
    Counts, int64 `(num_labels, num_labels)`: rows are true classes, columns predicted ones.

    Args:
        labels, predicted: int `(images,)`.
    """
    pairs = np.asarray(labels, np.int64) * num_labels + predicted
    return np.bincount(pairs, minlength=num_labels**2).reshape(num_labels, num_labels)
