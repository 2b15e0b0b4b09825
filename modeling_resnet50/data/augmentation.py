"""What happens to a training image between its file and the batch."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.transforms import str_to_pil_interp
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from ..recipe import Recipe


SIZE_STEP = 32  # progressive resizing moves in steps of the network's stride


def image_size_at(recipe: Recipe, epoch: int) -> int:
    """
    Side of the training images in an epoch, in pixels: `image_size_start`, then rising along a line in multiples of
    32, then `image_size`. The same as in ffcv-imagenet's training script.

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
    size = np.interp(before, [first, last], [recipe.image_size_start, recipe.image_size])
    return round(size / SIZE_STEP) * SIZE_STEP


class TrainingTransform(nn.Module):
    """
    Random crop, flip, colour jitter, augmentation policy and erasing, as a recipe says: uint8 pixels
    `(3, height, width)` to uint8 pixels `(3, size, size)`, the size being that of `epoch`.

    Draws from the global generators of PyTorch, NumPy and Python, and from nothing else.

    Attributes:
        epoch: set it before use. Counted from 1.
    """

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.recipe = recipe
        self.epoch = 1
        self._transforms: dict[int, nn.Module] = {}

    def forward(self, pixels: Tensor) -> Tensor:
        size = image_size_at(self.recipe, self.epoch)
        if size not in self._transforms:
            self._transforms[size] = training_transform(self.recipe, size)
        return self._transforms[size](pixels)


def training_transform(recipe: Recipe, image_size: int) -> nn.Module:
    """One size's transform, in the order that torchvision's and timm's scripts have."""
    steps = [_random_resized_crop(recipe, image_size), v2.RandomHorizontalFlip(recipe.random_flip)]
    if recipe.color_jitter:
        steps.append(v2.ColorJitter(*[recipe.color_jitter] * 3))
    if recipe.auto_augment != "none":
        steps.append(_policy(recipe, image_size))
    if recipe.random_erasing:
        # To the mean colour, which is 0 once normalised; in 8 bits it is 0.006 off at most.
        mean_colour = [round(255 * mean) for mean in recipe.image_mean]
        steps.append(v2.RandomErasing(recipe.random_erasing, value=mean_colour))
    return v2.Compose(steps)


def _random_resized_crop(recipe: Recipe, image_size: int) -> nn.Module:
    def crop(interpolation: str) -> nn.Module:
        return v2.RandomResizedCrop(
            image_size,
            scale=tuple(recipe.random_crop_scale),
            ratio=tuple(recipe.random_crop_ratio),
            interpolation=InterpolationMode(interpolation),
            antialias=True,
        )

    interpolation = recipe.train_interpolation or recipe.interpolation
    if interpolation == "random":
        return v2.RandomChoice([crop("bilinear"), crop("bicubic")])
    return crop(interpolation)


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
    raise AssertionError(recipe.auto_augment)


class RandAugment(nn.Module):
    """
    timm's RandAugment (`rand-mM-nN-mstdS-inc1`), which published recipes name: magnitude 0 to 10 with noise, each
    operation more severe as it grows. torchvision's has other ranges and no noise.
    """

    def __init__(self, recipe: Recipe, image_size: int):
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
            f"-mstd{recipe.rand_augment_magnitude_std:g}-inc1",
            settings,
        )

    def forward(self, pixels: Tensor) -> Tensor:
        image = self.augment(Image.fromarray(pixels.permute(1, 2, 0).numpy()))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)
