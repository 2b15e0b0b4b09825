"""Optimizer and learning rate."""

import math
from collections.abc import Callable

import torch
from timm.optim import create_optimizer_v2
from torch import nn

from ..recipe import Recipe


def create_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with momentum and weight decay on all parameters, as in He et al. 2015. Made by timm's factory."""
    return create_optimizer_v2(
        model,
        opt="momentum",  # timm's name for SGD without Nesterov
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        filter_bias_and_bn=False,
    )


def learning_rate_schedule(recipe: Recipe, steps_per_epoch: int) -> Callable[[int], float]:
    """
    The learning rate as a pure function of the optimizer step.

    A function rather than a scheduler object: it resumes from one integer, and Accelerate cannot step it once per
    process. Step 0 already moves: warm-up rises from `learning_rate / warmup_steps` to `learning_rate`.

    Args:
        recipe: `learning_rate`, `warmup_epochs`, `num_train_epochs`, `lr_scheduler_type`.
        steps_per_epoch: optimizer steps in one epoch.

    Returns:
        `lr_at(step)`, where `step` counts the optimizer steps already taken.
    """
    total_steps = recipe.num_train_epochs * steps_per_epoch
    warmup_steps = round(recipe.warmup_epochs * steps_per_epoch)

    def lr_at(step: int) -> float:
        if step < warmup_steps:
            return recipe.learning_rate * (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)  # 0 to 1 after warm-up
        if recipe.lr_scheduler_type == "cosine":
            return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
        if recipe.lr_scheduler_type == "linear":
            return recipe.learning_rate * (1 - progress)
        return recipe.learning_rate

    return lr_at


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
