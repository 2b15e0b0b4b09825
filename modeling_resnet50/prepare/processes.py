"""Going through a data set in several processes."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ..data.loader import end_with_parent, loaded


def in_order(items: Dataset[Any], num_proc: int) -> Iterator[Any]:
    """
    Each item, in order, made by so many processes: a DataLoader's, which end with this one, even when it is killed.

    Raises:
        RuntimeError: one of them was killed.
    """
    num_workers = num_proc if num_proc > 1 else 0
    return loaded(DataLoader(items, batch_size=None, num_workers=num_workers, worker_init_fn=end_with_parent))
