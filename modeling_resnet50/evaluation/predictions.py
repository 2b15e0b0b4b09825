"""What a model said of every image of a split: all else in an evaluation is computed from this."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor


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


def ranked(logits: Tensor, k: int) -> Tensor:
    """
    The labels of the `k` largest logits, or of all there are, the largest first; of equals, which in 16 bits are not
    rare, the first. (`topk` leaves that open: on a GPU its first is not always `argmax`, and its five not the CPU's.)

    Args:
        logits: `(…, classes)`.

    Returns:
        int64 `(…, k)`.
    """
    return logits.sort(dim=-1, descending=True, stable=True).indices[..., :k]


def class_scores(logits: Tensor, config: Any) -> Tensor:
    """
    A score from 0 to 1 for each class, as transformers' pipelines give it: softmax, or where each class is true or
    false on its own, sigmoid.

    Args:
        logits: `(…, num_labels)`.
        config: of the model, with `num_labels` and `problem_type` as transformers has them.
    """
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return logits.float().sigmoid()
    return logits.float().softmax(-1)


def share_in_words(value: float) -> str:
    """A probability, as precisely as anybody cares."""
    return "<0.1%" if value < 0.001 else f"{value:.0%}" if value >= 0.1 else f"{value:.1%}"
