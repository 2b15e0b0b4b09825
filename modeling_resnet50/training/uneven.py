"""Losses for classes of which some have many more images than others."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torchvision.ops import sigmoid_focal_loss

from resnet50_recipe.errors import UserError, did_you_mean
from resnet50_recipe.recipe import Recipe


def class_weights(recipe: Recipe, counts: np.ndarray | None, label_names: list[str]) -> Tensor | None:
    """
    What an image of each class counts in the loss, so that the mean over the training images is 1.

    Args:
        recipe: `class_weights`, `effective_number_beta`.
        counts: training images of each class, `(classes,)`.
        label_names: of the classes.

    Returns:
        float32 `(classes,)`; None: all count the same.

    Raises:
        UserError: weights of other classes than these, or a class without an image to weigh it by.
    """
    if recipe.class_weights == "none":
        return None
    assert counts is not None
    if isinstance(recipe.class_weights, str):
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            raise UserError(
                f"class_weights {recipe.class_weights}: no training image is a {label_names[empty[0]]!r} (one of "
                f"{len(empty)} such classes), which has no weight then: give the weights as numbers"
            )
        # Cui et al. 2019, equation 2; with beta = 1 it is n, and the weights are scikit-learn's.
        beta = recipe.effective_number_beta
        effective = counts if recipe.class_weights == "balanced" else 1 - beta**counts
        weights = 1 / effective
    else:
        weights = _given(recipe.class_weights, label_names)
    mean = counts @ weights / counts.sum()
    if mean == 0:
        raise UserError("class_weights leave no training image a weight above 0")
    return torch.tensor(weights / mean, dtype=torch.float32)


def _given(weights: list[float] | dict[str, float], label_names: list[str]) -> np.ndarray:
    if isinstance(weights, list):
        if len(weights) != len(label_names):
            raise UserError(f"class_weights are {len(weights)} numbers, but the data has {len(label_names)} classes")
        return np.array(weights)
    for name in weights:
        if name not in label_names:
            raise UserError(f"class_weights: the data has no class {name!r}{did_you_mean(name, label_names)}")
    missing = [name for name in label_names if name not in weights]
    if missing:
        raise UserError(f"class_weights: {len(missing)} classes have none, first {missing[0]!r}")
    return np.array([weights[name] for name in label_names])


class FocalCrossEntropy(nn.Module):
    """
    Cross-entropy whose classes have weights, and whose terms fade as the model becomes sure (Lin et al. 2017):
    `-Σ_c w_c t_c (1 - p_c)^γ log p_c` for targets t, which add up to 1 over the classes; smoothed, mixed, or both.

    It is the plain mean over the images. PyTorch divides by the sum of their weights where targets are class indices:
    then the gradients of equal parts of a batch do not average to that of the whole.

    Args:
        smoothing: of targets that are class indices.
        gamma: 0, or at least 1: below it the gradient is infinite where p is 1.
        class_weights: `(classes,)`, or None.
    """

    class_weights: Tensor | None

    def __init__(self, smoothing: float, gamma: float, class_weights: Tensor | None):
        super().__init__()
        self.smoothing, self.gamma = smoothing, gamma
        self.register_buffer("class_weights", class_weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.gamma == 0:
            losses = cross_entropy(
                logits, targets, weight=self.class_weights, label_smoothing=self.smoothing, reduction="none"
            )
            return losses.mean()
        log_p = logits.log_softmax(-1)
        shares = _shares(targets, logits.shape[-1], self.smoothing)
        if self.class_weights is not None:
            shares = shares * self.class_weights
        return -(shares * (-torch.expm1(log_p)) ** self.gamma * log_p).sum(-1).mean()


class FocalBinaryCrossEntropy(nn.Module):
    """
    timm's `BinaryCrossEntropy` whose images have the weight of their class in all terms (Cui et al. 2019), or where
    targets are smoothed or mixed, the mean weight of their classes by these shares; and whose terms fade as in
    torchvision's `sigmoid_focal_loss`.

    Args:
        smoothing, gamma, class_weights: as in `FocalCrossEntropy`.
        target_threshold: targets above it are 1, others 0. None: as they are.
    """

    class_weights: Tensor | None

    def __init__(self, smoothing: float, gamma: float, class_weights: Tensor | None, target_threshold: float | None):
        super().__init__()
        self.smoothing, self.gamma, self.target_threshold = smoothing, gamma, target_threshold
        self.register_buffer("class_weights", class_weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        shares = _shares(targets, logits.shape[-1], self.smoothing)
        wanted = shares if self.target_threshold is None else (shares > self.target_threshold).to(shares.dtype)
        losses = sigmoid_focal_loss(logits, wanted, alpha=-1, gamma=self.gamma).mean(-1)
        return (losses if self.class_weights is None else losses * (shares @ self.class_weights)).mean()


def _shares(targets: Tensor, num_labels: int, smoothing: float) -> Tensor:
    """Of each class in each image, float `(batch, num_labels)`."""
    if targets.ndim == 2:
        return targets
    return one_hot(targets, num_labels) * (1 - smoothing) + smoothing / num_labels
