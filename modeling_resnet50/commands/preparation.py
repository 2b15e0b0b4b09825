"""How images are prepared for a model that a command asks about them."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import BitImageProcessor

from resnet50_recipe.errors import UserError

from ..data.transforms import evaluation_resize_size, evaluation_transform, normalize_by
from ..hub.model_folder import INTERPOLATIONS, PIL_NUMBERS


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
