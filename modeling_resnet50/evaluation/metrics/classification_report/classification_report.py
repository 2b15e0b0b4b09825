"""
Precision, recall, F1, balanced accuracy and Cohen's kappa as an `evaluate` metric that needs no network:
`evaluate.load("…/metrics/classification_report")`.
"""

from typing import Any

import datasets
import evaluate
import numpy as np


_DESCRIPTION = (
    "What follows from the counts of right and wrong answers: precision, recall and F1, as the mean over classes "
    "(macro) and weighted by their images, balanced accuracy (Brodersen et al. 2010) and Cohen's kappa (Cohen 1960)."
)

_CITATION = """
@article{cohen1960coefficient,
  title = {A Coefficient of Agreement for Nominal Scales},
  author = {Cohen, Jacob},
  journal = {Educational and Psychological Measurement},
  year = {1960}
}
"""

_INPUTS = """
Args:
    predictions: for each image, the most likely class, or class indices with the most likely first.
    references: for each image, its true class index.
    per_class: also give "classes", for each class that occurs its label, images, precision, recall and F1.

Returns:
    {"macro_precision", "macro_recall", "macro_f1", "weighted_precision", "weighted_recall", "weighted_f1",
    "balanced_accuracy", "cohen_kappa"}.

Example:
    >>> metric.compute(predictions=[0, 1, 1, 1], references=[0, 0, 1, 1])["macro_recall"]
    0.75
"""


class ClassificationReport(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[
                datasets.Features({"predictions": predictions, "references": datasets.Value("float64")})
                for predictions in (datasets.Sequence(datasets.Value("float64")), datasets.Value("float64"))
            ],
        )

    def _compute(self, predictions: Any, references: Any, per_class: bool = False) -> dict[str, Any]:
        predictions, references = _classes(predictions), _classes(references)
        if predictions.ndim == 2:
            predictions = predictions[:, 0]
        counts = ClassCounts(references, predictions)
        return counts.averages() | ({"classes": counts.classes()} if per_class else {})


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


class ClassCounts:
    """
    How many images each class has, how many were taken for it, and how many of these rightly. All scores follow from
    that; as in scikit-learn, those of a class without any image, or any answer, are 0.

    Args:
        labels, predicted: int `(images,)`, the true class and the most likely one.
    """

    def __init__(self, labels: np.ndarray, predicted: np.ndarray):
        num_labels = 1 + int(max(labels.max(), predicted.max()))
        self.images, self.answers, self.correct = (
            np.bincount(classes, minlength=num_labels) for classes in (labels, predicted, labels[labels == predicted])
        )
        self.precision = self.correct / np.maximum(self.answers, 1)
        self.recall = self.correct / np.maximum(self.images, 1)
        self.f1 = 2 * self.correct / np.maximum(self.images + self.answers, 1)

    def averages(self) -> dict[str, float]:
        """
        `macro_precision`, …: means over the classes that occur, as true ones or as answers; `weighted_…`: by images;
        `balanced_accuracy`: mean recall of the classes with images; `cohen_kappa`: NaN if there is one class only.
        """
        occurs = self.images + self.answers > 0
        total = self.images.sum()
        scores = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        agreement, by_chance = self.correct.sum() / total, (self.images / total) @ (self.answers / total)
        means = {f"macro_{name}": values[occurs].mean() for name, values in scores.items()}
        means |= {f"weighted_{name}": values @ self.images / total for name, values in scores.items()}
        means["balanced_accuracy"] = self.recall[self.images > 0].mean()
        means["cohen_kappa"] = (agreement - by_chance) / (1 - by_chance) if occurs.sum() > 1 else np.nan
        return {name: float(value) for name, value in means.items()}

    def classes(self) -> list[dict[str, Any]]:
        """For each class that occurs, `{"label", "images", "precision", "recall", "f1"}`."""
        return [
            {
                "label": int(label),
                "images": int(self.images[label]),
                "precision": float(self.precision[label]),
                "recall": float(self.recall[label]),
                "f1": float(self.f1[label]),
            }
            for label in np.flatnonzero(self.images + self.answers)
        ]
