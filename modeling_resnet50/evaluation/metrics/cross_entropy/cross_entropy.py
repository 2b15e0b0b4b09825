"""Cross-entropy as an `evaluate` metric that needs no network: `evaluate.load("…/metrics/cross_entropy")`."""

import datasets
import evaluate
import numpy as np


_DESCRIPTION = "Mean negative log-probability, in nats, that the model gave to the true class."

_INPUTS = """
Args:
    predictions: for each image, the log-probability of its true class. (One number an image, not 1000 logits.)
    references: for each image, its true class index. Only counted.

Returns:
    {"loss": …}

Example:
    >>> metric.compute(predictions=[0.0, -2.0], references=[3, 1])
    {'loss': 1.0}
"""


class CrossEntropy(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions, references):
        return {"loss": float(-np.mean(predictions))}
