"""The images that a command judges a model by, or calibrates it on, and how they are prepared."""

import argparse
import sys

import datasets
import torch
from transformers import BitImageProcessor

from ..data.folders import VALIDATION_NAMES
from ..data.loader import DeviceLoader, ImageBatches, check_shared_memory, shared_bytes
from ..data.sources import load_evaluation_split
from ..data.streaming import StreamedImageBatches, StreamedSplit, open_streamed_split
from ..data.transforms import evaluation_resize_size, evaluation_transform
from ..errors import UserError
from ..hub.model_folder import INTERPOLATIONS, PIL_NUMBERS, exif_orientation_of


def load_split(options: argparse.Namespace, split: str | None) -> datasets.Dataset:
    if options.batch_size < 1 or options.num_workers < 0:
        raise UserError("--batch_size must be at least 1 and --num_workers at least 0")
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    return load_evaluation_split(
        options.dataset, split, options.dataset_config, options.image_column, options.label_column
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
) -> DeviceLoader:
    """`options` gives `batch_size`, that of the sampler, and `num_workers`."""
    check_shared_memory(options.num_workers, shared_bytes(options.batch_size, processor.crop_size["height"]))
    images = StreamedImageBatches if isinstance(dataset, StreamedSplit) else ImageBatches
    transform = evaluation_transform(*protocol(processor))
    batches = images(dataset, transform, exif_orientation=exif_orientation_of(processor))
    return DeviceLoader(batches, sampler, device, processor.image_mean, processor.image_std, options.num_workers)


def class_map_of(label_names: list[str], data_names: list[str]) -> tuple[torch.Tensor, list[str]]:
    """
    The model's class for each class of the data: by name where the names agree, else by position.

    Args:
        label_names, data_names: of the classes of the model and of the data.

    Returns:
        int64 `(number of classes of the data,)`; and the names of the model's classes, which are the data's if the
        classes were matched by position.
    """
    number_of = {name: number for number, name in enumerate(label_names)}
    if set(data_names) <= number_of.keys():
        return torch.tensor([number_of[name] for name in data_names]), label_names
    if len(data_names) != len(label_names):
        raise UserError(
            f"the data has {len(data_names)} classes ({data_names[0]}, …), the model {len(label_names)} "
            f"({label_names[0]}, …)"
        )
    print("note: the data's class names are not the model's; classes are matched by position", file=sys.stderr)
    return torch.arange(len(data_names)), data_names


def protocol(processor: BitImageProcessor) -> tuple[int, int, str]:
    """Short side, crop and interpolation, as the model's own processor states them."""
    interpolation = INTERPOLATIONS[int(processor.resample)]
    return processor.size["shortest_edge"], processor.crop_size["height"], interpolation


def set_protocol(processor: BitImageProcessor, options: argparse.Namespace) -> None:
    """
    Change what the options of image preparation say; of a new size, the ratio stays as it was.

    Raises:
        UserError: no such size or ratio.
    """
    resize_size, crop_size, _ = protocol(processor)
    image_size = crop_size if options.image_size is None else options.image_size
    if image_size < 1:
        raise UserError("--image_size must be at least 1")
    if options.crop_ratio is None:
        resize_size = image_size * resize_size // crop_size
    elif 0 < options.crop_ratio <= 1:
        resize_size = evaluation_resize_size(image_size, options.crop_ratio)
    else:
        raise UserError("--crop_ratio must be above 0 and at most 1, as in 0.875 (224 of 256 pixels)")
    processor.size = {"shortest_edge": resize_size}
    processor.crop_size = {"height": image_size, "width": image_size}
    if options.interpolation is not None:
        processor.resample = PIL_NUMBERS[options.interpolation]  # type: ignore[assignment]  # saved as a number
    if options.exif_orientation is not None:
        processor.exif_orientation = options.exif_orientation  # type: ignore[attr-defined]  # a field of ours
