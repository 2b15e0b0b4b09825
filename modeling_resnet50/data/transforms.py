"""From decoded pixels to those of the network's size, uint8; and normalised, which happens on the device."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from .decoding import EncodedImage
from .preprocessing import Preprocessing


class ImageTransform(nn.Module):
    """
    What `ImageBatches` does to each image of a batch. This one leaves it as it is; others give uint8 pixels of one
    size, `(channels, height, width)`.
    """

    def begin(self, image: EncodedImage, epoch: int) -> Callable[[], Tensor]:
        """
        Do what can be done before the image is decoded.

        Args:
            image: shown to the network in this epoch. Whatever is drawn for it comes from PyTorch's global generator.
            epoch: counted from 1; 0 in evaluation.

        Returns:
            The rest, which may draw from any global generator. It raises UserError if the image is unreadable.
        """
        return lambda: self(image[:, :, :])

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels


class EvaluationTransform(ImageTransform):
    """
    From uint8 pixels `(channels, height, width)` to the square that a network is judged by.

    Resized by PIL, as timm's validation and the evaluation behind torchvision's weights do it, to the very pixel.
    torchvision's resize of tensors takes half as long and is off by one grey level here and there.
    """

    def __init__(self, preprocessing: Preprocessing):
        super().__init__()
        size, interpolation = preprocessing.resize_size, InterpolationMode(preprocessing.interpolation)
        resize: list[nn.Module]
        match preprocessing.crop_mode:
            case "center":
                resize = [v2.Resize(size, interpolation=interpolation)]
            case "squash":
                resize = [v2.Resize((size, size), interpolation=interpolation)]
            case "pad":
                margins = _Margins(preprocessing.image_size, preprocessing.margin_colour)
                resize = [_LongSide(size, interpolation), margins]
        crop = v2.CenterCrop(preprocessing.image_size)
        self.steps = v2.Compose([v2.ToPILImage(), *resize, crop, v2.PILToTensor()])

    def forward(self, pixels: Tensor) -> Tensor:
        return self.steps(pixels)


class _LongSide(nn.Module):
    """Resizes a PIL image so that its long side has `size` pixels; the other is rounded to the nearest, as by timm."""

    def __init__(self, size: int, interpolation: InterpolationMode):
        super().__init__()
        self.size, self.interpolation = size, interpolation

    def forward(self, image):
        ratio = max(image.height / self.size, image.width / self.size)
        sides = [max(1, round(side / ratio)) for side in (image.height, image.width)]
        return functional.resize(image, sides, self.interpolation)


class _Margins(nn.Module):
    """Puts a PIL image in the middle of a square of `size` pixels, along whichever side it is smaller; of an odd rest,
    the larger half is right or below, as in timm."""

    def __init__(self, size: int, colour: list[int]):
        super().__init__()
        self.size, self.colour = size, colour

    def forward(self, image):
        width, height = (max(0, self.size - side) for side in image.size)
        margins = [width // 2, height // 2, width - width // 2, height - height // 2]
        return functional.pad(image, margins, fill=self.colour)


def normalize(pixels: Tensor, image_mean: Tensor, image_std: Tensor) -> Tensor:
    """
    As the network takes them.

    Args:
        pixels: uint8 `(…, channels, height, width)`.
        image_mean, image_std: float32 `(channels, 1, 1)`, on the same device, for pixels in [0, 1].
    """
    return pixels.float().div_(255).sub_(image_mean).div_(image_std)


def normalize_by(preprocessing: Preprocessing, pixels: Tensor) -> Tensor:
    """`normalize`, by the numbers there."""
    return normalize(pixels, *statistics_of(preprocessing, pixels.device))


def statistics_of(preprocessing: Preprocessing, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, float32, each `(channels, 1, 1)`."""
    mean, std = preprocessing.image_mean, preprocessing.image_std
    return torch.tensor(mean, device=device).view(-1, 1, 1), torch.tensor(std, device=device).view(-1, 1, 1)
