"""What the network is trained to make small."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from timm.loss import BinaryCrossEntropy
from torch import Tensor, nn

from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe

from .uneven import FocalBinaryCrossEntropy, FocalCrossEntropy


class Criterion:
    """
    The training loss of a recipe: mean over the images of a batch, so that gradients of equal batches average to
    that of the batch they make up.

    Args:
        recipe: `loss`, `label_smoothing_factor`, `bce_target_threshold`, and `distillation_…`.
        teacher: whose logits are imitated, if any: takes pixel values as the student does.
        autocast: makes the context of the training precision, in which the teacher runs.
        class_weights: `(num_labels,)`, on the device, if any.
    """

    def __init__(
        self,
        recipe: Recipe,
        teacher: nn.Module | None = None,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        class_weights: Tensor | None = None,
    ):
        # Mixed targets come smoothed, as from timm's Mixup.
        smoothing = 0.0 if recipe.mixes else recipe.label_smoothing_factor
        if class_weights is not None or recipe.focal_gamma:
            self.loss: nn.Module = _uneven_loss(recipe, smoothing, class_weights)
        elif recipe.loss == "bce":
            self.loss = BinaryCrossEntropy(smoothing, target_threshold=recipe.bce_target_threshold)
        else:
            self.loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
        self.teacher, self.autocast = teacher, autocast
        self.alpha, self.temperature = recipe.distillation_alpha, recipe.distillation_temperature

    def compile(self, **settings: Any) -> None:
        """Compile the loss and the teacher by torch.compile, whose arguments these are."""
        self.loss.compile(**settings)
        if self.teacher is not None:
            self.teacher.compile(**settings)

    def __call__(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """
        Args:
            logits: `(batch, num_labels)`.
            batch: with `targets` `(batch,)` or `(batch, num_labels)`, and the `pixel_values` the teacher looks at.

        Returns:
            A scalar.
        """
        loss = self.loss(logits, batch["targets"])
        if self.teacher is None:
            return loss
        with torch.no_grad(), self.autocast():
            teacher_logits = self.teacher(batch["pixel_values"]).float()
        return (1 - self.alpha) * loss + self.alpha * distillation_loss(logits, teacher_logits, self.temperature)


def _uneven_loss(recipe: Recipe, smoothing: float, class_weights: Tensor | None) -> nn.Module:
    if recipe.loss == "bce":
        return FocalBinaryCrossEntropy(smoothing, recipe.focal_gamma, class_weights, recipe.bce_target_threshold)
    return FocalCrossEntropy(smoothing, recipe.focal_gamma, class_weights)


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the softened outputs, times temperature² (Hinton et al. 2015)."""
    student = (logits / temperature).log_softmax(-1)
    teacher = (teacher_logits / temperature).log_softmax(-1)
    return nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


class Teacher(nn.Module):
    """
    A classifier of the same classes, to be imitated. It sees the student's images, normalised its own way.

    Args:
        model: of transformers; returns `logits`.
        image_mean, image_std: per channel, as the teacher's processor has them.
        recipe: has the student's.

    Raises:
        UserError: it tells another number of classes apart, or takes other channels.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Any, image_mean: list[float], image_std: list[float], recipe: Recipe, num_labels: int):
        super().__init__()
        if model.config.num_labels != num_labels:
            raise UserError(
                f"the teacher {recipe.teacher} tells {model.config.num_labels} classes apart, but the data has "
                f"{num_labels}"
            )
        if len(image_mean) != recipe.num_channels:
            raise UserError(
                f"the teacher {recipe.teacher} takes images of {len(image_mean)} channels, the recipe has "
                f"{recipe.num_channels}"
            )
        self.model = model.eval().requires_grad_(False)
        # (pixels * std + mean - teacher_mean) / teacher_std, as one scale and one shift
        mean, std, teacher_mean, teacher_std = (
            torch.tensor(values).view(-1, 1, 1)
            for values in (recipe.image_mean, recipe.image_std, image_mean, image_std)
        )
        self.register_buffer("scale", std / teacher_std)
        self.register_buffer("shift", (mean - teacher_mean) / teacher_std)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values * self.scale + self.shift).logits
