"""ReaL accuracy as an `evaluate` metric that needs no network: `evaluate.load("…/metrics/real_accuracy")`."""

from typing import Any

import datasets
import evaluate
import numpy as np


_DESCRIPTION = (
    "Share of the images whose most likely class is one of those that can be seen in them, by the reassessed labels "
    "of ImageNet's validation images (Beyer et al. 2020). Images without any such class are not counted."
)

_CITATION = """
@article{beyer2020imagenet,
  title = {Are we done with ImageNet?},
  author = {Beyer, Lucas and H{\\'e}naff, Olivier J. and Kolesnikov, Alexander and Zhai, Xiaohua
    and van den Oord, A{\\"a}ron},
  journal = {arXiv preprint arXiv:2006.07159},
  year = {2020}
}
"""

_INPUTS = """
Args:
    predictions: for each image, the most likely class.
    references: for each image, the list of classes that are right; it may be empty.

Returns:
    {"real_accuracy": …, "images": number of images that were counted}. The accuracy is NaN if none was.

Example:
    >>> metric.compute(predictions=[4, 1, 7], references=[[4, 5], [0], []])
    {'real_accuracy': 0.5, 'images': 2}
"""


class RealAccuracy(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Sequence(datasets.Value("float64"))}
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, Any]:
        pairs = zip(_classes(predictions), map(_classes, references))
        hits = [prediction in right for prediction, right in pairs if len(right)]
        return {"real_accuracy": float(np.mean(hits)) if hits else float("nan"), "images": len(hits)}


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
