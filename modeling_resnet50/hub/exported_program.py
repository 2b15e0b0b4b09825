"""Models as `torch.export` programs: one file that runs without this package, and can be compiled ahead of time."""

import copy
import json
from pathlib import Path

import torch
from torch.export import ExportedProgram
from transformers import BitImageProcessor

from ..modeling_resnet50 import ResNet50ForImageClassification
from .image_graph import ImageClassifier
from .weights import LogitsOnly


def export_program(model: ResNet50ForImageClassification, path: Path, image_size: int) -> None:
    """
    Save the model's forward pass as a `.pt2` file for `torch.export.load`.

    The program takes `pixel_values` `(batch, channels, height, width)` of the model's dtype and returns the logits
    `(batch, num_labels)`. `torch._inductor.aoti_compile_and_package` makes a shared library of it, which takes
    contiguous pixels of that dtype alone, and does not check them unless AOTI_RUNTIME_CHECK_INPUTS is 1.

    Args:
        model: in evaluation mode.
        path: the file to write.
        image_size: as `trace` has it.
    """
    _save(trace(model, image_size), path, {})


def export_image_program(
    model: ResNet50ForImageClassification, processor: BitImageProcessor, path: Path, topk: int | None = None
) -> None:
    """
    Save the whole way from a photo's own pixels to probabilities: the program takes `images` uint8 `(batch, height,
    width, channels)`, of any size, and returns what `ImageClassifier` does. The names of the classes
    are beside it: `torch.export.load(path, extra_files=names)` with `names = {"id2label": ""}`, as JSON.

    Args:
        model: in evaluation mode.
        path: the file to write.
    """
    photos = torch.zeros(2, 240, 320, model.config.num_channels, dtype=torch.uint8, device=model.device)
    auto = torch.export.Dim.AUTO
    fixed = copy.deepcopy(model).requires_grad_(False)  # so that answers are numbers, without a graph behind them
    program = torch.export.export(
        ImageClassifier(fixed, processor, topk).to(model.device).eval(),
        (photos,),
        dynamic_shapes={"images": {0: torch.export.Dim("batch"), 1: auto, 2: auto}},
    )
    _save(program, path, {"id2label": json.dumps(model.config.id2label, ensure_ascii=False)})


def trace(model: ResNet50ForImageClassification, image_size: int) -> ExportedProgram:
    """
    From `pixel_values` to logits. Batch, height and width are free, except that PyTorch treats a last feature map of
    one pixel as a case of its own: traced with 224 pixels, the program takes all sizes above 32; traced with 32, only
    up to 32.

    Args:
        image_size: side of the images that the model is made for, in pixels.
    """
    shape = (2, model.config.num_channels, image_size, image_size)
    example = torch.zeros(shape, device=model.device, dtype=model.dtype)
    dim = torch.export.Dim
    return torch.export.export(
        LogitsOnly(model).eval(),
        (example,),
        dynamic_shapes={"pixel_values": {0: dim("batch"), 2: dim.AUTO, 3: dim.AUTO}},
    )


def _save(program: ExportedProgram, path: Path, about: dict[str, str]) -> None:
    with open(path, "wb") as file:  # given a path, it would insist on the ending .pt2
        torch.export.save(program, file, extra_files=about)
