"""The images that a command judges a model by, or calibrates it on, and how they are prepared."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import datasets
import torch
from torch import Tensor, nn
from transformers import BitImageProcessor

from resnet50_recipe.errors import UserError
from resnet50_recipe.terminal import say

from ..data.file_names import composed
from ..data.folders import VALIDATION_NAMES
from ..data.loader import DeviceLoader, ImageBatches, check_shared_memory, shared_bytes
from ..data.sources import load_evaluation_split
from ..data.streaming import StreamedImageBatches, StreamedSplit, open_streamed_split
from ..data.transforms import evaluation_resize_size, evaluation_transform, normalize_by
from ..hub.model_folder import INTERPOLATIONS, PIL_NUMBERS, exif_orientation_of


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


class Preparation:
    """
    How images are prepared for a model, by one of two libraries. Both resize the short side and crop the centre, but
    round and resize in ways of their own: of an odd margin timm (and torchvision) crop half to even and transformers
    rounds down, and timm resizes by PIL, transformers by torchvision.

    Attributes:
        crop: uint8 pixels `(channels, height, width)` to the central square, uint8.
        normalize: uint8 pixels `(batch, channels, height, width)` to what the network takes, float32.
    """

    crop: nn.Module
    normalize: Callable[[Tensor], Tensor]

    def __init__(self, processor: BitImageProcessor, library: str):
        if library == "transformers":
            self.crop = _ProcessorsCrop(processor)
            self.normalize = partial(
                processor.rescale_and_normalize,
                do_rescale=True,
                rescale_factor=processor.rescale_factor,
                do_normalize=True,
                image_mean=processor.image_mean,
                image_std=processor.image_std,
            )
        else:
            self.crop = evaluation_transform(*protocol(processor))
            self.normalize = partial(normalize_by, processor.image_mean, processor.image_std)


class _ProcessorsCrop(nn.Module):
    """The processor, but for its last step, which is taken on the device."""

    def __init__(self, processor: BitImageProcessor):
        super().__init__()
        self.processor = processor

    def forward(self, pixels: Tensor) -> Tensor:
        unfinished: dict[str, Any] = {"do_convert_rgb": False, "do_rescale": False, "do_normalize": False}
        prepared = self.processor(pixels, input_data_format="channels_first", return_tensors="pt", **unfinished)
        return prepared["pixel_values"][0]


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
