"""Many tensors in few kernels, by PyTorch's foreach operations."""

from collections.abc import Iterable

import torch
from torch import Tensor


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
