"""The images that a command judges a model by, or calibrates it on."""

import sys
from collections import Counter
from typing import Any

import datasets
import torch

from resnet50_recipe.errors import UserError
from resnet50_recipe.terminal import say

from ..data.file_names import composed
from ..data.folders import VALIDATION_NAMES
from ..data.loader import DeviceLoader, check_shared_memory, shared_bytes
from ..data.sources import load_evaluation_split
from ..data.streaming import StreamedSplit, image_batches, open_streamed_split
from .preparation import Preparation
from .typed_options import Loading, Source


def load_split(
    source: Source, split: str | None, train_val_split: tuple[float, int] | None = None
) -> datasets.Dataset:
    """The images of one split; with `train_val_split`, a recipe's share and seed, those that were held out of it."""
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    columns = (source.dataset_config, source.image_column, source.label_column)
    return load_evaluation_split(_named(source), split, *columns, train_val_split=train_val_split)


def open_stream(source: Source) -> StreamedSplit:
    """As `load_split`, of parquet shards that stay where they are."""
    if source.dataset == "digits":
        raise UserError("digits comes with the package: there is nothing to stream")
    names = VALIDATION_NAMES if source.split is None else [source.split]
    columns = (source.dataset_config, source.image_column, source.label_column)
    return open_streamed_split(_named(source), names, *columns)


def _named(source: Source) -> str:
    assert source.dataset is not None, "who asks for images has seen that there are some"
    return source.dataset


def make_loader(
    dataset: datasets.Dataset | StreamedSplit,
    sampler: Any,
    preparation: Preparation,
    device: torch.device,
    loading: Loading,
) -> DeviceLoader:
    """Batches as a model takes them. `loading` says the sampler's batch size."""
    preprocessing = preparation.preprocessing
    held = shared_bytes(loading.batch_size, preprocessing.image_size, preprocessing.num_channels)
    check_shared_memory(loading.num_workers, held)
    batches = image_batches(
        dataset,
        preparation.crop,
        num_channels=preprocessing.num_channels,
        exif_orientation=preprocessing.exif_orientation,
    )
    statistics = list(preprocessing.image_mean), list(preprocessing.image_std)
    loader = DeviceLoader(batches, sampler, device, *statistics, loading.num_workers)
    loader.normalize = preparation.normalize
    return loader


def class_map_of(
    label_names: list[str], data_names: list[str], codes: list[str] | None = None
) -> tuple[torch.Tensor, list[str]]:
    """
    The model's class for each class of the data: by name where the names agree and each is one class's, else by
    number or position.

    Args:
        label_names, data_names: of the classes of the model and of the data.
        codes: other names of the model's classes, where they have some.

    Returns:
        int64 `(number of classes of the data,)`; and the names of the model's classes, which are the data's if the
        classes were matched by position.

    Raises:
        UserError: neither is possible.
    """
    if codes is not None and set(data_names) <= set(codes):
        return torch.tensor([codes.index(name) for name in data_names]), label_names
    counts = Counter(map(composed, label_names))
    number_of = {composed(name): number for number, name in enumerate(label_names)}
    shared = [name for name in data_names if counts[composed(name)] > 1]
    if counts.keys() >= set(map(composed, data_names)) and not shared:
        return torch.tensor([number_of[composed(name)] for name in data_names]), label_names
    reason = "the data's class names are not the model's"
    if shared:
        reason = f"{counts[composed(shared[0])]} of the model's classes are called {shared[0]}"
    if len(data_names) != len(label_names):
        if all(name.isdecimal() and int(name) < len(label_names) for name in data_names):
            return torch.tensor([int(name) for name in data_names]), label_names  # numbers of some of the classes
        raise UserError(
            f"the data has {len(data_names)} classes ({data_names[0]}, …), the model {len(label_names)} "
            f"({label_names[0]}, …), and {reason}"
        )
    say(f"note: {reason}; classes are matched by position", file=sys.stderr)
    return torch.arange(len(data_names)), data_names
