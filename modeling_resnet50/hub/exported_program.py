"""Models as `torch.export` programs: one file that runs without this package, and can be compiled ahead of time."""

from pathlib import Path

import torch

from ..modeling_resnet50 import ResNet50ForImageClassification
from .weights import LogitsOnly


def export_program(model: ResNet50ForImageClassification, path: Path, image_size: int) -> None:
    """
    Save the model's forward pass as a `.pt2` file for `torch.export.load`.

    The program takes `pixel_values` `(batch, channels, height, width)` of the model's dtype and returns the logits
    `(batch, num_labels)`. Batch, height and width are free, except that PyTorch treats a last feature map of one pixel
    as a case of its own: traced with 224 pixels, the program takes all sizes above 32; traced with 32, only up to 32.
    `torch._inductor.aoti_compile_and_package` makes a shared library of it.

    Args:
        model: in evaluation mode.
        path: the file to write.
        image_size: side of the images that the model is made for, in pixels.
    """
    shape = (2, model.config.num_channels, image_size, image_size)
    example = torch.zeros(shape, device=model.device, dtype=model.dtype)
    dim = torch.export.Dim
    program = torch.export.export(
        LogitsOnly(model).eval(),
        (example,),
        dynamic_shapes={"pixel_values": {0: dim("batch"), 2: dim.AUTO, 3: dim.AUTO}},
    )
    with open(path, "wb") as file:  # given a path, it would insist on the ending .pt2
        torch.export.save(program, file)
