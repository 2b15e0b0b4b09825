"""
Where a model looks: Grad-CAM (Selvaraju et al. 2017).

This file is copied into Spaces, beside their app.py, and so imports nothing of the package.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn


LEAST_SIDE = 7  # places of a map that shows anything: what a ResNet's last stage has at 224 pixels


def grad_cam(
    model: nn.Module,
    pixel_values: Tensor,
    labels: Tensor,
    least_side: int = LEAST_SIDE,
    layers: Sequence[nn.Module] | None = None,
) -> Tensor:
    """
    How much each place of an image speaks for a class: a stage's feature maps, weighted by the mean gradient of the
    class's logit, and what is negative left out.

    Args:
        model: returns `logits` and, unless `layers` are given, on request `hidden_states`, the last of which are the
            last stage's feature maps: ours and transformers' ResNets. It is run in evaluation mode; parameters'
            gradients are left alone.
        pixel_values: normalised images, `(batch, channels, height, width)`.
        labels: the class to explain for each image, int64 `(batch,)`.
        least_side: the last stage counts whose maps are at least so high and wide, or else as large as any: of small
            images, the last stage may have a single place left.
        layers: of the model, the first one first: their outputs, `(batch, channels, height, width)`, are taken for
            the stages' feature maps.

    Returns:
        `(batch, height, width)`, resized bilinearly, each divided by its maximum: 0 to 1. All 0 where nothing speaks
        for the class.

    Raises:
        ValueError: the model gives no feature maps.
    """
    was_training = model.training
    model.eval()
    with torch.enable_grad():
        # The images ask for gradients so that frozen parameters do not matter.
        outputs, stages = _run(model, pixel_values.detach().requires_grad_(), layers)
        if not stages or stages[-1].ndim != 4:
            raise ValueError(f"{type(model).__name__} gives no feature maps, which Grad-CAM needs")
        sides = [min(stage.shape[-2:]) for stage in stages]
        features = [stage for stage, side in zip(stages, sides) if side >= min(least_side, max(sides))][-1]
        (gradients,) = torch.autograd.grad(outputs.logits.gather(1, labels[:, None]).sum(), features)
    model.train(was_training)
    weights = gradients.float().mean((2, 3), keepdim=True)
    maps = (weights * features.detach().float()).sum(1, keepdim=True).relu()
    maps = nn.functional.interpolate(maps, pixel_values.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)


def _run(
    model: nn.Module, pixel_values: Tensor, layers: Sequence[nn.Module] | None
) -> tuple[Any, Sequence[Tensor] | None]:
    """The model's outputs, and its feature maps from the first stage to the last."""
    if layers is None:
        outputs = model(pixel_values=pixel_values, output_hidden_states=True)
        return outputs, getattr(outputs, "hidden_states", None)
    seen: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda module, inputs, output: seen.append(output)) for layer in layers]
    try:
        return model(pixel_values=pixel_values), seen
    finally:
        for hook in hooks:
            hook.remove()


def overlay(picture: Image.Image, heat: np.ndarray) -> Image.Image:
    """A picture, coloured where it is hot; `heat` is float `(height, width)`, 0 to 1, and resized to it."""
    import matplotlib  # half a second, which commands that colour nothing need not wait for

    heat = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(picture.size, Image.Resampling.BILINEAR))
    heat = heat.clip(0, 1)[:, :, None]
    colours = matplotlib.colormaps["turbo"](heat[:, :, 0])[:, :, :3] * 255
    strength = 0.7 * heat
    mixed = (1 - strength) * np.asarray(picture.convert("RGB")) + strength * colours
    return Image.fromarray(mixed.round().astype(np.uint8))
