"""Where a model looks: Grad-CAM (Selvaraju et al. 2017)."""

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError


def grad_cam(model: nn.Module, pixel_values: Tensor, labels: Tensor, layer: nn.Module | None = None) -> Tensor:
    """
    How much each place of an image speaks for a class: the last stage's feature maps, weighted by the mean gradient of
    the class's logit, and what is negative left out.

    Args:
        model: returns `logits` and, unless `layer` is given, on request `hidden_states`, the last of which are the
            last stage's feature maps: ours and transformers' ResNets. It is run in evaluation mode; parameters'
            gradients are left alone.
        pixel_values: normalised images, `(batch, channels, height, width)`.
        labels: the class to explain for each image, int64 `(batch,)`.
        layer: of the model: its output, `(batch, channels, height, width)`, is taken for the feature maps.

    Returns:
        `(batch, height, width)`, resized bilinearly, each divided by its maximum: 0 to 1. All 0 where nothing speaks
        for the class.

    Raises:
        UserError: the model gives no feature maps.
    """
    was_training = model.training
    model.eval()
    with torch.enable_grad():
        # The images ask for gradients so that frozen parameters do not matter.
        outputs, features = _run(model, pixel_values.detach().requires_grad_(), layer)
        if features is None or features.ndim != 4:
            raise UserError(f"{type(model).__name__} gives no feature maps, which Grad-CAM needs")
        (gradients,) = torch.autograd.grad(outputs.logits.gather(1, labels[:, None]).sum(), features)
    model.train(was_training)
    weights = gradients.float().mean((2, 3), keepdim=True)
    maps = (weights * features.detach().float()).sum(1, keepdim=True).relu()
    maps = nn.functional.interpolate(maps, pixel_values.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)


def _run(model: nn.Module, pixel_values: Tensor, layer: nn.Module | None) -> tuple[Any, Tensor | None]:
    if layer is None:
        outputs = model(pixel_values=pixel_values, output_hidden_states=True)
        return outputs, outputs.hidden_states[-1] if getattr(outputs, "hidden_states", None) else None
    seen: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        return model(pixel_values=pixel_values), seen[-1]
    finally:
        hook.remove()
