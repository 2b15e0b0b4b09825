"""Cross-entropy as an `evaluate` metric that needs no network: `evaluate.load("…/metrics/cross_entropy")`."""

from typing import Any

import datasets
import evaluate
import numpy as np


_DESCRIPTION = "Mean negative log-probability, in nats, that the model gave to the true class."

_INPUTS = """
Args:
    log_probabilities: for each image, the log-probability of its true class. (One number an image, not 1000 logits.)
    references: for each image, its true class index. Only counted.

Returns:
    {"loss": …}

Example:
    >>> metric.compute(log_probabilities=[0.0, -2.0], references=[3, 1])
    {'loss': 1.0}
"""


class CrossEntropy(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"log_probabilities": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, log_probabilities: Any, references: Any) -> dict[str, float]:
        return {"loss": float(-np.mean(log_probabilities))}
