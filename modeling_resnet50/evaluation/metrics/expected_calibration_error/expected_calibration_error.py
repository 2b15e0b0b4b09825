"""
Expected calibration error as an `evaluate` metric that needs no network:
`evaluate.load("…/metrics/expected_calibration_error")`.
"""

from typing import Any

import datasets
import evaluate
import numpy as np


_DESCRIPTION = (
    "By how much the model's confidence misses its accuracy: images are put into bins of equal width by the "
    "probability of their most likely class, and the gaps between mean confidence and accuracy are averaged over the "
    "images (Naeini et al. 2015; Guo et al. 2017)."
)

_CITATION = """
@inproceedings{guo2017calibration,
  title = {On Calibration of Modern Neural Networks},
  author = {Guo, Chuan and Pleiss, Geoff and Sun, Yu and Weinberger, Kilian Q.},
  booktitle = {International Conference on Machine Learning},
  year = {2017}
}
"""

_INPUTS = """
Args:
    predictions: for each image, the most likely class, or class indices with the most likely first.
    references: for each image, its true class index.
    confidences: for each image, the probability of its most likely class.
    num_bins: default 15.

Returns:
    {"ece": …}, in [0, 1].

Example:
    >>> metric.compute(predictions=[2, 0], references=[2, 1], confidences=[0.9, 0.6], num_bins=1)
    {'ece': 0.25}
"""


class ExpectedCalibrationError(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[
                datasets.Features(
                    {
                        "predictions": predictions,
                        "references": datasets.Value("float64"),
                        "confidences": datasets.Value("float64"),
                    }
                )
                for predictions in (datasets.Sequence(datasets.Value("float64")), datasets.Value("float64"))
            ],
        )

    def _compute(self, predictions: Any, references: Any, confidences: Any, num_bins: int = 15) -> dict[str, float]:
        predictions = _classes(predictions)
        if predictions.ndim == 2:
            predictions = predictions[:, 0]
        bins = reliability_bins(np.asarray(confidences), predictions == _classes(references), num_bins)
        return {"ece": calibration_error(bins)}


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


def reliability_bins(confidences: np.ndarray, correct: np.ndarray, num_bins: int = 15) -> list[dict[str, Any]]:
    """
    A reliability diagram in numbers: for each bin, `low` < confidence <= `high`.

    Args:
        confidences: float `(images,)`, in [0, 1].
        correct: bool `(images,)`.
        num_bins: of equal width.

    Returns:
        A list of `{"low", "high", "images", "confidence", "accuracy"}`; the last two are means, None in an empty bin.
    """
    # By the edges themselves: a confidence times the number of bins may be rounded over one.
    edges = np.arange(1, num_bins + 1) / num_bins
    numbers = np.minimum(np.searchsorted(edges, confidences), num_bins - 1)
    images, confidence, hits = (
        np.bincount(numbers, weights, num_bins) for weights in (None, confidences, np.asarray(correct, float))
    )
    return [
        {
            "low": number / num_bins,
            "high": (number + 1) / num_bins,
            "images": int(images[number]),
            "confidence": float(confidence[number] / images[number]) if images[number] else None,
            "accuracy": float(hits[number] / images[number]) if images[number] else None,
        }
        for number in range(num_bins)
    ]


def calibration_error(bins: list[dict[str, Any]]) -> float:
    """Mean gap between confidence and accuracy, over the images of the bins that `reliability_bins` gives."""
    gaps = [row["images"] * abs(row["confidence"] - row["accuracy"]) for row in bins if row["images"]]
    return float(sum(gaps) / sum(row["images"] for row in bins))
