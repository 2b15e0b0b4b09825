"""Many tensors in few kernels, by PyTorch's foreach operations."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def by_dtype(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """
    A list for each dtype, in the order in which they are met: a foreach operation on a GPU is one kernel only where
    all its tensors have the same, and one for each tensor otherwise.
    """
    lists: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        lists.setdefault(tensor.dtype, []).append(tensor)
    return list(lists.values())


def copy_all(targets: list[list[Tensor]], sources: list[list[Tensor]]) -> None:
    """Copy each tensor of `sources` into its counterpart; both as `by_dtype` gives them."""
    for target, source in zip(targets, sources, strict=True):
        torch._foreach_copy_(target, source)


def copy_all_if(condition: Tensor, targets: list[list[Tensor]], sources: list[list[Tensor]]) -> None:
    """
    `copy_all`, if a condition holds that only the device knows yet: nobody waits for it.

    Args:
        condition: bool, a scalar.
    """
    for target, source in zip(targets, sources, strict=True):
        here, there = (torch.cat([tensor.reshape(-1) for tensor in tensors]) for tensors in (target, source))
        pieces = torch.where(condition, there, here).split([tensor.numel() for tensor in target])
        torch._foreach_copy_(target, [piece.view_as(tensor) for piece, tensor in zip(pieces, target)])


def gradient_norm(model: nn.Module, scale: float = 1.0) -> Tensor:
    """
    The L2 norm of all gradients together, a scalar on their device.

    Args:
        scale: the loss was multiplied by, for fp16.
    """
    return nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]) / scale
