"""A training batch as a person would look at it."""

from typing import Any

import torch
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from resnet50_recipe.recipe import Recipe

from ..picture_sheet import Picture, classes_in, draw_sheet


MOST_IMAGES = 32
_COLUMNS = 8


def picture_of(batch: dict[str, Any], recipe: Recipe, label_names: list[str]) -> Image.Image:
    """
    The first images of a batch, each above its label, in rows of 8.

    Args:
        batch: `pixel_values` float `(batch, channels, height, width)`, normalised; `targets`, int64 `(batch,)`, or
            `(batch, num_labels)`: then the shares of the classes are told.
        recipe: says what they were normalised and smoothed by.
        label_names: of the classes.
    """
    pixels = batch["pixel_values"][:MOST_IMAGES].detach().float().cpu()
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (recipe.image_mean, recipe.image_std))
    pixels = (255 * (pixels * std + mean)).round().clamp(0, 255).to(torch.uint8)
    targets = batch["targets"][:MOST_IMAGES].detach().cpu()
    captions = [classes_in(target, label_names, recipe.label_smoothing_factor) for target in targets]
    return draw_sheet([Picture([to_pil_image(each)], told) for each, told in zip(pixels, captions)], _COLUMNS)
