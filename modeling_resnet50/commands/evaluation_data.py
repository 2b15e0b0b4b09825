"""The images that a command judges a model by, or calibrates it on."""

import argparse
import sys
from collections import Counter

import datasets
import torch
from transformers import BitImageProcessor

from resnet50_recipe.errors import UserError
from resnet50_recipe.terminal import say

from ..data.file_names import composed
from ..data.folders import VALIDATION_NAMES
from ..data.loader import DeviceLoader, ImageBatches, check_shared_memory, shared_bytes
from ..data.sources import load_evaluation_split
from ..data.streaming import StreamedImageBatches, StreamedSplit, open_streamed_split
from ..hub.model_folder import exif_orientation_of
from .preparation import Preparation


def load_split(
    options: argparse.Namespace, split: str | None, train_val_split: tuple[float, int] | None = None
) -> datasets.Dataset:
    """The images of one split; with `train_val_split`, a recipe's share and seed, those that were held out of it."""
    if options.batch_size < 1 or options.num_workers < 0:
        raise UserError("--batch_size must be at least 1 and --num_workers at least 0")
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    return load_evaluation_split(
        options.dataset,
        split,
        options.dataset_config,
        options.image_column,
        options.label_column,
        train_val_split=train_val_split,
    )


def open_stream(options: argparse.Namespace) -> StreamedSplit:
    """As `load_split`, of parquet shards that stay where they are."""
    if options.dataset == "digits":
        raise UserError("digits comes with the package: there is nothing to stream")
    names = VALIDATION_NAMES if options.split is None else [options.split]
    columns = (options.dataset_config, options.image_column, options.label_column)
    return open_streamed_split(options.dataset, names, *columns)


def make_loader(
    dataset: datasets.Dataset | StreamedSplit,
    sampler,
    processor: BitImageProcessor,
    device: torch.device,
    options: argparse.Namespace,
    library: str = "timm",
) -> DeviceLoader:
    """`options` gives `batch_size`, that of the sampler, and `num_workers`; `library`: whose pixels, `Preparation`."""
    num_channels = len(processor.image_mean)
    held = shared_bytes(options.batch_size, processor.crop_size["height"], num_channels)
    check_shared_memory(options.num_workers, held)
    preparation = Preparation(processor, library)
    images = StreamedImageBatches if isinstance(dataset, StreamedSplit) else ImageBatches
    batches = images(
        dataset, preparation.crop, num_channels=num_channels, exif_orientation=exif_orientation_of(processor)
    )
    loader = DeviceLoader(batches, sampler, device, processor.image_mean, processor.image_std, options.num_workers)
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
