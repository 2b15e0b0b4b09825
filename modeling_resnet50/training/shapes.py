"""Networks on the meta device: shapes without numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def shapes_alone(model: nn.Module) -> Iterator[None]:
    """
    Let the BatchNorms of a model on the meta device make shapes alone, and keep for the backward pass what they would:
    torch (2.15) finds out theirs in Python, operation by operation, which takes nine tenths of a forward pass.

    Raises:
        ValueError: one that trains sees a single value of a channel, of which it can measure no variance.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        vars(norm)["forward"] = partial(_normalized, norm)
    try:
        yield
    finally:
        for norm in norms:
            del vars(norm)["forward"]


def _normalized(norm: nn.BatchNorm2d, input: Tensor) -> Tensor:
    if norm.training and input.numel() == input.shape[1]:
        raise ValueError(f"a single value of each channel, of shape {tuple(input.shape)}")
    output: Tensor = _BatchNorm.apply(input, norm.weight) if torch.is_grad_enabled() else input
    return output


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor) -> Tensor:
        mean, deviation = (input.new_empty(input.shape[1]) for _ in range(2))
        ctx.save_for_backward(input, weight, mean, deviation)
        return torch.empty_like(input)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient, ctx.saved_tensors[1]  # of the weight's shape, too
