"""What a model said of every image of a split: all else in an evaluation is computed from this."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Predictions:
    """
    Attributes:
        logits: float32 `(images, num_labels)`, in the split's order.
        labels: int64 `(images,)`, the true class of each, among the model's.
        label_names: of the model's classes.
    """

    logits: np.ndarray
    labels: np.ndarray
    label_names: list[str]
