"""Top-k accuracy as an `evaluate` metric that needs no network: `evaluate.load("…/metrics/topk_accuracy")`."""

from typing import Any

import datasets
import evaluate
import numpy as np


_DESCRIPTION = "Share of the images whose true class is among the k classes the model holds most likely."

_INPUTS = """
Args:
    predictions: for each image, class indices with the most likely first, as many as the largest k or more; or the
        most likely class alone, as `evaluate.evaluator` gives it, for top-1 only.
    references: for each image, its true class index.
    k: list of k; default [1, 5]. A k larger than the number of predicted classes counts all of them.

Returns:
    {"top1": …, "top5": …}, each in [0, 1].

Example:
    >>> metric.compute(predictions=[[2, 0], [1, 2]], references=[0, 1], k=[1, 2])
    {'top1': 0.5, 'top2': 1.0}
"""


class TopKAccuracy(evaluate.Metric):
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

    def _compute(self, predictions: Any, references: Any, k: Any = (1, 5)) -> dict[str, float]:
        predictions = _classes(predictions)
        if predictions.ndim == 1:
            predictions, k = predictions[:, None], (1,)
        hits = predictions == _classes(references)[:, None]
        return {f"top{n}": float(hits[:, :n].any(axis=1).mean()) for n in k}


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
