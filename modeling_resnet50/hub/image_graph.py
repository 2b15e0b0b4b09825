"""
The preparation of images as part of an exported model: from a photo's own pixels to probabilities.

Pillow's antialiased resize is two products with matrices that depend on sizes alone (one for the columns, one for the
rows; whole levels in between, as in Pillow). Both are computed within the graph, and only for the pixels that the crop
keeps. So a file needs no resize of its runtime, which differ from each other and know no antialiasing here and there.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import BitImageProcessor

from ..data.preprocessing import Preprocessing
from ..data.transforms import EvaluationTransform, normalize_by
from ..evaluation.predictions import class_scores
from ..modeling_resnet50 import ResNet50ForImageClassification


class ImagePreparation(nn.Module):
    """
    Resize, crop and normalise, as evaluation does it by Pillow: at most a level apart, where Pillow's integers round
    another way (of RGBA, where colours weigh by opacity, a level of these products).

    Args:
        preprocessing: "pad" fills the square with the mean colour; "center" fills what an image lacks with black, as
            torchvision does.
    """

    mean: Tensor
    std: Tensor
    colour: Tensor

    def __init__(self, preprocessing: Preprocessing):
        super().__init__()
        self.resize_size, self.image_size = preprocessing.resize_size, preprocessing.image_size
        self.crop_mode = preprocessing.crop_mode
        self.filter = _FILTERS[preprocessing.interpolation]
        mean, std = preprocessing.image_mean, preprocessing.image_std
        colour = [round(255 * value) if self.crop_mode == "pad" else 0 for value in mean]
        for name, values in (("mean", mean), ("std", std), ("colour", colour)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1))

    @classmethod
    def of(cls, processor: BitImageProcessor) -> "ImagePreparation":
        """What an image processor states."""
        return cls(Preprocessing.from_processor(processor, "the model"))

    def forward(self, images: Tensor) -> Tensor:
        """
        Args:
            images: uint8 `(batch, height, width, channels)`, of any height and width.

        Returns:
            `pixel_values`, float32 `(batch, channels, image_size, image_size)`.
        """
        return (self.crop(images) / 255 - self.mean) / self.std

    def crop(self, images: Tensor) -> Tensor:
        """The square before it is normalised: whole levels, 0 to 255, float32."""
        height, width = (torch.full((), images.shape[axis], dtype=torch.int64) for axis in (1, 2))
        rows, row_is_inside = self._weights(height, width, images.shape[1])
        columns, column_is_inside = self._weights(width, height, images.shape[2])
        pixels = images.permute(0, 3, 1, 2).float()
        if len(self.mean) == 4:
            pixels = _weighed_by_opacity(pixels)
        pixels = _whole_levels(rows @ _whole_levels(pixels @ columns.T))
        if len(self.mean) == 4:
            pixels = _as_opaque(pixels)
        return torch.where(row_is_inside[:, None] & column_is_inside, pixels, self.colour)

    def _weights(self, length: Tensor, other: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """
        What each pixel of an image adds to each pixel of the square, along one side.

        Args:
            length, other: of this side and the other one, in pixels; int64.
            count: `length` as a number.

        Returns:
            Weights float32 `(image_size, length)`, and whether there is anything at that place of the square, bool
            `(image_size,)`.
        """
        size = self._resized(length, other)
        place = torch.arange(self.image_size) + _offset(size, self.image_size)
        shown = torch.minimum(torch.maximum(place, torch.zeros_like(place)), size - 1)
        # Distances between the middles of pixels, in units of the filter; exact up to the last division.
        distance = (2 * torch.arange(count) + 1)[None] * size - (2 * shown + 1)[:, None] * length
        weights = self.filter((distance.float() / (2 * torch.maximum(length, size)).float()).abs())
        return weights / weights.sum(1, keepdim=True), (place >= 0) & (place < size)

    def _resized(self, length: Tensor, other: Tensor) -> Tensor:
        """Pixels that a side is resized to: rounded as torchvision does ("center") or timm ("pad")."""
        if self.crop_mode == "squash":
            return torch.full((), self.resize_size, dtype=torch.int64)
        if self.crop_mode == "pad":
            ratio = torch.maximum(length, other).double() / self.resize_size
            return torch.round(length.double() / ratio).long().clamp(min=1)
        return self.resize_size * length // torch.minimum(length, other)


class ImageClassifier(nn.Module):
    """
    A network from a photo's own pixels to probabilities, for `torch.export`.

    Args:
        model: in evaluation mode.
        topk: also the most likely classes, so many.
    """

    def __init__(self, model: ResNet50ForImageClassification, processor: BitImageProcessor, topk: int | None = None):
        super().__init__()
        self.preparation, self.model, self.topk = ImagePreparation.of(processor), model, topk

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """
        From uint8 `(batch, height, width, channels)` to probabilities float32 `(batch, num_labels)`; with `topk`, the
        largest of them and their classes too, float32 and int64 `(batch, topk)`.
        """
        logits = self.model(self.preparation(images).to(self.model.dtype)).logits
        probabilities = class_scores(logits, self.model.config)
        return probabilities if self.topk is None else (probabilities, *probabilities.topk(self.topk))


def prepared_by_pillow(processor: BitImageProcessor) -> Callable[[Tensor], Tensor]:
    """The preparation that `ImagePreparation` is held to: of uint8 `(height, width, channels)`, `pixel_values`."""
    preprocessing = Preprocessing.from_processor(processor, "the model")
    crop = EvaluationTransform(preprocessing)

    def prepare(image: Tensor) -> Tensor:
        return normalize_by(preprocessing, crop(image.permute(2, 0, 1)))[None]

    return prepare


def _whole_levels(pixels: Tensor) -> Tensor:
    return (pixels + 0.5).floor().clamp(0, 255)


def _weighed_by_opacity(pixels: Tensor) -> Tensor:
    """RGBA as Pillow resizes it: a colour counts as much as one sees of it."""
    colours, opacity = pixels[:, :3], pixels[:, 3:]
    return torch.cat([_whole_levels(colours * opacity / 255), opacity], dim=1)


def _as_opaque(pixels: Tensor) -> Tensor:
    """Back again; Pillow cuts fractions off here."""
    colours, opacity = pixels[:, :3], pixels[:, 3:]
    whole = (255 * colours / opacity.clamp(min=1)).floor().clamp(0, 255)
    return torch.cat([torch.where((opacity == 0) | (opacity == 255), colours, whole), opacity], dim=1)


def _offset(size: Tensor, crop: int) -> Tensor:
    """
    First pixel of the central crop: of an odd rest half to even, as Python's `round`; before the image, where that is
    the smaller one.
    """
    rest, lacking = (size - crop).clamp(min=0), (crop - size).clamp(min=0)
    half = rest // 2
    return half + (rest % 2) * (half % 2) - lacking // 2


def _bilinear(distance: Tensor) -> Tensor:
    return (1 - distance).clamp(min=0)


def _bicubic(distance: Tensor) -> Tensor:
    """Keys' cubic convolution (1981) with a = -0.5, as Pillow has it."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))


_FILTERS = {"bilinear": _bilinear, "bicubic": _bicubic}
