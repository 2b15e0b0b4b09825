"""A training batch as a person would look at it."""

from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.v2.functional import to_pil_image

from resnet50_recipe.terminal import printable


MOST_IMAGES = 32
_COLUMNS = 8
_SMALLEST = 112  # pixels: smaller images are enlarged, by whole numbers, so that each pixel is seen
_CAPTION = 16


def picture_of(
    batch: dict[str, Any], image_mean: list[float], image_std: list[float], label_names: list[str]
) -> Image.Image:
    """
    The first images of a batch, each above its label, in rows of 8.

    Args:
        batch: `pixel_values` float `(batch, channels, height, width)`, normalised; `targets`, int64 `(batch,)`, or
            `(batch, num_labels)`: then the two largest shares are told.
        image_mean, image_std: that they were normalised by, per channel, for pixels in [0, 1].
        label_names: of the classes.
    """
    pixels = batch["pixel_values"][:MOST_IMAGES].detach().float().cpu()
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (image_mean, image_std))
    pixels = (255 * (pixels * std + mean)).round().clamp(0, 255).to(torch.uint8)
    count, _, height, width = pixels.shape
    scale = max(1, -(-_SMALLEST // width))
    width, height = width * scale, height * scale
    columns = min(_COLUMNS, count)
    size = (columns * (width + 4) + 4, -(-count // columns) * (height + _CAPTION + 4) + 4)
    grid = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(11)
    for index, (values, target) in enumerate(zip(pixels, batch["targets"][:MOST_IMAGES].detach().cpu())):
        row, column = divmod(index, columns)
        left, top = 4 + column * (width + 4), 4 + row * (height + _CAPTION + 4)
        image = to_pil_image(values).resize((width, height), Image.Resampling.NEAREST)
        grid.paste(image, (left, top))
        caption = printable(_caption(target, label_names))
        while len(caption) > 1 and draw.textlength(caption, font) > width:
            caption = caption[:-2] + "…"
        draw.text((left, top + height + 1), caption, "black", font)
    return grid


def _caption(target: torch.Tensor, label_names: list[str]) -> str:
    if target.ndim == 0:
        return label_names[target]
    shares, labels = target.float().topk(min(2, len(target)))
    told = [(share, label) for share, label in zip(shares.tolist(), labels.tolist()) if share >= 0.05]
    if len(told) == 1:
        return label_names[told[0][1]]
    return " + ".join(f"{share:.0%} {label_names[label]}" for share, label in told)
