"""What happens to a training image between its file and the batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2.functional import pil_to_tensor, resize_image, to_pil_image

from resnet50_recipe.recipe import Recipe

from .decoding import EncodedImage
from .transforms import ImageTransform


SIZE_STEP = 32  # progressive resizing moves in steps of the network's stride


def image_size_at(recipe: Recipe, epoch: int) -> int:
    """
    Side of the training images in an epoch, in pixels: `image_size_start`, then rising along a line in multiples of
    32 between the two, then `image_size`. The same as in ffcv-imagenet's training script, where both are multiples.

    Args:
        epoch: counted from 1.
    """
    if recipe.image_size_start is None or recipe.image_size_ramp is None:
        return recipe.image_size
    first, last = recipe.image_size_ramp
    before = epoch - 1
    if before <= first:
        return recipe.image_size_start
    if before >= last:
        return recipe.image_size
    ends = recipe.image_size_start, recipe.image_size
    size = round(np.interp(before, [first, last], ends) / SIZE_STEP) * SIZE_STEP
    return min(max(size, min(ends)), max(ends))


@dataclass(frozen=True)
class Drawn:
    """
    What chance has decided about one image: its crop in pixels, the filter that resizes it, the flips, and by how many
    quarters it is turned after them.
    """

    top: int
    left: int
    height: int
    width: int
    interpolation: InterpolationMode
    flip: bool
    vertical_flip: bool = False
    quarter_turns: int = 0


class TrainingTransform(ImageTransform):
    """
    Random crop, flip, colour jitter, augmentation policy and erasing, as a recipe says and in the order that
    torchvision's and timm's scripts have: an `EncodedImage`, or uint8 pixels `(channels, height, width)`, to uint8
    pixels `(channels, size, size)`, the size being that of `epoch`.

    Draws from the global generators of PyTorch, NumPy and Python, and from nothing else: for crop and flips what
    torchvision's `RandomChoice`, `RandomResizedCrop` and `RandomHorizontalFlip` draw, and with the same result.

    Attributes:
        epoch: counted from 1; `begin` sets it.
        only_crops_and_flips: nothing else is drawn, so `draw` may be called beforehand.
    """

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.recipe = recipe
        self.epoch = 1
        interpolation = recipe.train_interpolation or recipe.interpolation
        names = ["bilinear", "bicubic"] if interpolation == "random" else [interpolation]
        self._interpolations = [InterpolationMode(name) for name in names]
        scale, ratio = tuple(recipe.random_crop_scale), tuple(recipe.random_crop_ratio)
        self._crop = v2.RandomResizedCrop(recipe.image_size, scale, ratio)
        self._steps_by_size: dict[int, list[nn.Module]] = {}
        self.only_crops_and_flips = not self.steps(recipe.image_size)

    def steps(self, image_size: int) -> list[nn.Module]:
        """What comes after crop and flip."""
        if image_size not in self._steps_by_size:
            self._steps_by_size[image_size] = _steps(self.recipe, image_size)
        return self._steps_by_size[image_size]

    def draw(self, shape: tuple[int, ...]) -> Drawn:
        """
        Crop and flip of an image.

        Args:
            shape: `(channels, height, width)` of the image.
        """
        choice = 0
        if len(self._interpolations) > 1:
            choice = int(torch.multinomial(torch.full((2,), 0.5), 1))
        crop = self._crop.make_params([torch.empty(shape, device="meta")])  # it looks at nothing but the shape
        flip = torch.rand(1).item() < self.recipe.random_flip
        # Where they are off, nothing is drawn for them, and what comes after is as it was without them.
        vertical = self.recipe.random_vertical_flip > 0 and torch.rand(1).item() < self.recipe.random_vertical_flip
        turns = self.recipe.random_rotate_90 > 0 and torch.rand(1).item() < self.recipe.random_rotate_90
        quarters = int(torch.randint(1, 4, (1,))) if turns else 0
        return Drawn(
            **crop,
            interpolation=self._interpolations[choice],
            flip=flip,
            vertical_flip=vertical,
            quarter_turns=quarters,
        )

    def begin(self, image: EncodedImage, epoch: int) -> Callable[[], Tensor]:
        """Crop and flip are drawn now where the image's shape is known; no more of it than the crop is sliced."""
        self.epoch = epoch
        if self.only_crops_and_flips and image.is_plain_jpeg:
            return partial(self, image, self.draw(image.shape))
        return partial(self, image)

    def forward(self, image: EncodedImage | Tensor, drawn: Drawn | None = None) -> Tensor:
        """`drawn`: by `draw`, where that was called beforehand."""
        size = image_size_at(self.recipe, self.epoch)
        if drawn is None:
            drawn = self.draw(image.shape)
        pixels = image[:, drawn.top : drawn.top + drawn.height, drawn.left : drawn.left + drawn.width]
        # Packed, as 8-bit pixels are resized in two thirds of the time then, and the result is packed as well.
        pixels = pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        pixels = resize_image(pixels, [size, size], drawn.interpolation, antialias=True)
        if drawn.flip:
            pixels = pixels.flip(-1)
        if drawn.vertical_flip:
            pixels = pixels.flip(-2)
        if drawn.quarter_turns:
            pixels = pixels.rot90(drawn.quarter_turns, (-2, -1))
        for step in self.steps(size):
            pixels = step(pixels)
        return pixels


def _steps(recipe: Recipe, image_size: int) -> list[nn.Module]:
    steps: list[nn.Module] = []
    if recipe.color_jitter:
        steps.append(v2.ColorJitter(*[recipe.color_jitter] * 3))
    if recipe.auto_augment != "none":
        # DeiT III has it before the jitter, the scripts that the other policies are from after it.
        steps.insert(0 if recipe.auto_augment == "three_augment" else len(steps), _policy(recipe, image_size))
    if recipe.random_erasing:
        # To the mean colour, which is 0 once normalised; in 8 bits it is 0.006 off at most.
        mean_colour = [round(255 * mean) for mean in recipe.image_mean]
        steps.append(v2.RandomErasing(recipe.random_erasing, value=mean_colour))
    return steps


def _policy(recipe: Recipe, image_size: int) -> nn.Module:
    # torchvision's policies rotate and shear tensors with the bilinear filter at best.
    match recipe.auto_augment:
        case "randaugment":
            return RandAugment(recipe, image_size)
        case "trivialaugment":
            return v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR)
        case "autoaugment":
            return v2.AutoAugment(interpolation=InterpolationMode.BILINEAR)
        case "augmix":
            return v2.AugMix(interpolation=InterpolationMode.BILINEAR)
        case "three_augment":
            return three_augment(recipe.num_channels, image_size)
    raise AssertionError(recipe.auto_augment)


def three_augment(num_channels: int, image_size: int) -> nn.Module:
    """3-Augment of DeiT III (Touvron et al. 2022): grey, solarised or blurred, each as likely."""
    kernel = min(13, image_size - 1 + image_size % 2)  # odd; beyond 6 pixels, a deviation of 2 has nothing left
    return v2.RandomChoice(
        [v2.Grayscale(num_channels), v2.RandomSolarize(128, p=1.0), v2.GaussianBlur(kernel, sigma=(0.1, 2.0))]
    )


class RandAugment(nn.Module):
    """
    timm's RandAugment (`rand-mM-nN-mstdS-inc1`, or without `inc1`), which published recipes name: magnitude 0 to 10
    with noise. torchvision's has other ranges and no noise.
    """

    def __init__(self, recipe: Recipe, image_size: int):
        # What other policies, and evaluation, need not wait for.
        from timm.data.auto_augment import rand_augment_transform
        from timm.data.transforms import str_to_pil_interp

        super().__init__()
        settings: dict[str, Any] = {
            "translate_const": int(image_size * 0.45),
            "img_mean": tuple(round(255 * mean) for mean in recipe.image_mean),
        }
        interpolation = recipe.train_interpolation or recipe.interpolation
        if interpolation != "random":
            settings["interpolation"] = str_to_pil_interp(interpolation)
        self.augment = rand_augment_transform(
            f"rand-m{recipe.rand_augment_magnitude:g}-n{recipe.rand_augment_num_ops}"
            f"-mstd{recipe.rand_augment_magnitude_std:g}-inc{int(recipe.rand_augment_increasing)}",
            settings,
        )

    def forward(self, pixels: Tensor) -> Tensor:
        return pil_to_tensor(self.augment(to_pil_image(pixels)))
