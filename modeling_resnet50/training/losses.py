"""What the network is trained to make small."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe

from .teacher_cache import TeacherCache
from .uneven import FocalBinaryCrossEntropy, FocalCrossEntropy


class Criterion:
    """
    The training loss of a recipe: mean over the images of a batch, so that gradients of equal batches average to
    that of the batch they make up.

    Args:
        recipe: `loss`, `label_smoothing_factor`, `bce_target_threshold`, `task_loss_weight`, and all of
            `distillation_` and `dkd_`.
        teacher: whose logits are imitated, if any: takes pixel values as the student does.
        autocast: makes the context of the training precision, in which the teacher runs.
        class_weights: `(num_labels,)`, on the device, if any.
        cache: of the teacher's logits, if any.
    """

    def __init__(
        self,
        recipe: Recipe,
        teacher: nn.Module | None = None,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        class_weights: Tensor | None = None,
        cache: TeacherCache | None = None,
    ):
        # Mixed targets come smoothed, as from timm's Mixup.
        smoothing = 0.0 if recipe.mixes else recipe.label_smoothing_factor
        if class_weights is not None or recipe.focal_gamma:
            self.loss: nn.Module = _uneven_loss(recipe, smoothing, class_weights)
        elif recipe.loss == "bce":
            from timm.loss import BinaryCrossEntropy  # which others do not wait for

            self.loss = BinaryCrossEntropy(smoothing, target_threshold=recipe.bce_target_threshold)
        else:
            self.loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
        self.teacher, self.autocast, self.cache = teacher, autocast, cache
        self.recipe = recipe

    def compile(self, **settings: Any) -> None:
        """Compile the loss and the teacher by torch.compile, whose arguments these are."""
        self.loss.compile(**settings)
        if self.teacher is not None:
            self.teacher.compile(**settings)

    def __call__(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """
        Args:
            logits: `(batch, num_labels)`.
            batch: with `targets` `(batch,)` or `(batch, num_labels)`, and the `pixel_values` the teacher looks at; for
                the cache, also its `number` and the `indices` of its images.

        Returns:
            A scalar.
        """
        loss = self.loss(logits, batch["targets"])
        if self.teacher is None:
            return loss
        ask = partial(self._ask, self.teacher, batch["pixel_values"])
        teacher_logits = (ask() if self.cache is None else self.cache(batch, ask)).float()
        weight, alpha = self.recipe.task_loss_weight, self.recipe.distillation_alpha
        weight = 1 - alpha if weight is None else weight
        return weight * loss + alpha * self._distillation(logits, teacher_logits, batch["targets"])

    @torch.no_grad()
    def _ask(self, teacher: nn.Module, pixel_values: Tensor) -> Tensor:
        with self.autocast():
            return teacher(pixel_values)

    def _distillation(self, logits: Tensor, teacher_logits: Tensor, targets: Tensor) -> Tensor:
        recipe, temperature = self.recipe, self.recipe.distillation_temperature
        match recipe.distillation_loss:
            case "hard":
                return nn.functional.cross_entropy(logits, teacher_logits.argmax(-1))
            case "dkd":
                labels = targets.argmax(-1) if targets.dim() == 2 else targets
                loss = dkd_loss(logits, teacher_logits, labels, temperature, recipe.dkd_alpha, recipe.dkd_beta)
            case "reverse_kl":
                loss = kl_divergence(teacher_logits, logits, temperature)
            case "kl":
                loss = kl_divergence(logits, teacher_logits, temperature)
        return loss * temperature**2 if recipe.distillation_temperature_scaling else loss


def _uneven_loss(recipe: Recipe, smoothing: float, class_weights: Tensor | None) -> nn.Module:
    if recipe.loss == "bce":
        return FocalBinaryCrossEntropy(smoothing, recipe.focal_gamma, class_weights, recipe.bce_target_threshold)
    return FocalCrossEntropy(smoothing, recipe.focal_gamma, class_weights)


def kl_divergence(logits: Tensor, reference: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of softened outputs from softened reference ones; mean over the images."""
    log_p, log_q = ((z / temperature).log_softmax(-1) for z in (logits, reference))
    return nn.functional.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def dkd_loss(
    logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float, alpha: float, beta: float
) -> Tensor:
    """
    Decoupled knowledge distillation (Zhao et al. 2022): `alpha` times the divergence in what the labelled class gets
    against all others, plus `beta` times that among these others. With `beta` = 1 - the teacher's probability of the
    labelled class, it would be the divergence of Hinton et al.

    Args:
        labels: `(batch,)`.
    """
    labelled = nn.functional.one_hot(labels, logits.shape[-1]).bool()
    student, teacher = logits / temperature, teacher_logits / temperature
    two, others = [], []
    for outputs in (student, teacher):
        rest = outputs.masked_fill(labelled, -torch.inf)
        of_label = outputs.gather(-1, labels[:, None])
        two.append(torch.cat([of_label, rest.logsumexp(-1, keepdim=True)], -1))
        others.append(outputs[~labelled].view(len(outputs), -1))
    (p, q), (p_others, q_others) = two, others
    return alpha * kl_divergence(p, q, 1.0) + beta * kl_divergence(p_others, q_others, 1.0)


class Teacher(nn.Module):
    """
    A classifier of the same classes, to be imitated: in evaluation mode, on the student's images, mixed as they are,
    normalised its own way and in its own size.

    Args:
        model: of transformers; returns `logits`.
        image_mean, image_std: per channel, as the teacher's processor has them.
        recipe: has the student's, and `teacher_image_size`.

    Raises:
        UserError: it tells another number of classes apart, or takes other channels.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Any, image_mean: list[float], image_std: list[float], recipe: Recipe, num_labels: int):
        super().__init__()
        if model.config.num_labels != num_labels:
            raise UserError(
                f"the teacher {', '.join(recipe.teachers)} tells {model.config.num_labels} classes apart, but the "
                f"data has {num_labels}"
            )
        if len(image_mean) != recipe.num_channels:
            raise UserError(
                f"the teacher {', '.join(recipe.teachers)} takes images of {len(image_mean)} channels, the recipe has "
                f"{recipe.num_channels}"
            )
        self.model = model.eval().requires_grad_(False)
        self.image_size = recipe.teacher_image_size
        # (pixels * std + mean - teacher_mean) / teacher_std, as one scale and one shift
        mean, std, teacher_mean, teacher_std = (
            torch.tensor(values).view(-1, 1, 1)
            for values in (recipe.image_mean, recipe.image_std, image_mean, image_std)
        )
        self.register_buffer("scale", std / teacher_std)
        self.register_buffer("shift", (mean - teacher_mean) / teacher_std)

    def forward(self, pixel_values: Tensor) -> Tensor:
        if self.image_size is not None and pixel_values.shape[-2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            pixel_values = nn.functional.interpolate(pixel_values, size, mode="bilinear", antialias=True)
        return self.model(pixel_values * self.scale + self.shift).logits


class Teachers(nn.Module):
    """Several teachers as one: its logits are the logarithms of the mean of their probabilities."""

    def __init__(self, teachers: list[Teacher]):
        super().__init__()
        self.teachers = nn.ModuleList(teachers)

    def forward(self, pixel_values: Tensor) -> Tensor:
        logits = [teacher(pixel_values) for teacher in self.teachers]
        return logits[0] if len(logits) == 1 else torch.stack([z.float().log_softmax(-1) for z in logits]).logsumexp(0)
