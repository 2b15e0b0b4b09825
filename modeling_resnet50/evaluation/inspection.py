"""What a network is made of and what it sees: its stages, first filters, training images, and where it looks."""

import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms.v2.functional import to_pil_image

from resnet50_recipe.errors import UserError

from ..data.loader import DeviceLoader
from ..data.transforms import normalize
from ..files import replaced_file
from ..picture_sheet import Picture, classes_in, draw_sheet, short_name
from ..web_page import data_address, thumbnail, write_page
from .grad_cam import grad_cam, overlay
from .predictions import class_scores, share_in_words
from .results import versions


PER_BATCH = 6  # training images to show of each batch, in a row
_WARM_UPS = 2
# As ours, torchvision's and timm's ResNets call their stages (layer1, …), and transformers' (stages.0, …).
_STAGE = re.compile(r"(?:.*\.)?((?:layer|stages\.)\d+)")
_SIDE = 160  # pixels of a picture on the page


# The network


@dataclass(frozen=True)
class Stage:
    """
    Attributes:
        name: stem, the stages by their own names, head.
        output_shape: for one image.
        parameters: trainable numbers.
        flops: of the forward pass of one image. A multiplication and an addition are two; convolutions and matrix
            products are counted, as by `torch.utils.flop_counter`.
        milliseconds: of the forward pass of the batch, the median of several.
    """

    name: str
    output_shape: tuple[int, ...]
    parameters: int
    flops: int
    milliseconds: float


def stages_of(model: nn.Module) -> dict[str, nn.Module]:
    """
    The stages of a ResNet, or of a network that calls them alike, by their names.

    Raises:
        UserError: none is found.
    """
    matches = {_STAGE.fullmatch(name): module for name, module in model.named_modules()}
    stages = {match[1]: module for match, module in matches.items() if match is not None}
    if not stages:
        raise UserError(
            f"{type(model).__name__} has no stages that are known here: they are called layer1, … in ResNets of this "
            "library, torchvision and timm, and stages.0, … in those of transformers"
        )
    return stages


def measure_stages(model: nn.Module, pixel_values: Tensor, runs: int = 7) -> list[Stage]:
    """
    Everything before the first stage is the stem, everything after the last one the head.

    Args:
        model: answers with `logits`. It is run in evaluation mode.
        pixel_values: normalised images, `(batch, channels, height, width)`, where the model is.
        runs: over which the median is taken; two more come before.

    Raises:
        UserError: as `stages_of`.
    """
    stages = stages_of(model)
    was_training = model.training
    model.eval()
    marks: list[tuple[float, tuple[int, ...]]] = []

    def measure(meter: Callable[[], float]) -> list[float]:
        """What the meter rose by, in each part."""

        def passed(output: Tensor) -> None:
            marks.append((meter(), tuple(output.shape[1:])))

        first = next(iter(stages.values()))
        hooks = [first.register_forward_pre_hook(lambda module, inputs: passed(inputs[0]))]
        hooks += [stage.register_forward_hook(lambda m, i, output: passed(output)) for stage in stages.values()]
        marks.clear()
        try:
            before = meter()
            passed(model(pixel_values=pixel_values).logits)
        finally:
            for hook in hooks:
                hook.remove()
        return [after - before for before, after in pairwise([before, *(mark for mark, _ in marks)])]

    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            flops = measure(counter.get_total_flops)
        clock = _clock(pixel_values.device)
        times = [measure(clock) for _ in range(_WARM_UPS + runs)][_WARM_UPS:]
    model.train(was_training)
    return [
        Stage(name, shape, parameters, round(flop / len(pixel_values)), statistics.median(milliseconds))
        for name, (_, shape), parameters, flop, milliseconds in zip(
            ["stem", *stages, "head"], marks, _parameters(model, stages), flops, zip(*times), strict=True
        )
    ]


def _clock(device: torch.device) -> Callable[[], float]:
    """Milliseconds, once the device has done what it was told."""

    def now() -> float:
        if device.type != "cpu":
            torch.accelerator.synchronize()
        return 1000 * time.perf_counter()

    return now


def _parameters(model: nn.Module, stages: dict[str, nn.Module]) -> list[int]:
    """Of stem, stages and head: what belongs to no stage is the stem's if it is registered before the first."""
    stage_of = {id(p): number for number, stage in enumerate(stages.values(), 1) for p in stage.parameters()}
    counts = [0] * (len(stages) + 2)
    outside = 0
    for parameter in model.parameters():
        number = stage_of.get(id(parameter))
        if number is not None:
            outside = -1
        counts[outside if number is None else number] += parameter.numel()
    return counts


# Pictures


def first_filters(model: nn.Module) -> Image.Image | None:
    """
    The filters of the first convolution as colours: grey is 0, and each is scaled by its own largest weight. None if
    it does not look at one channel or three.
    """
    weight = next((module.weight for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if weight is None or weight.shape[1] not in (1, 3):
        return None
    filters = weight.detach().float().cpu().expand(-1, 3, -1, -1)  # one channel as grey
    largest = filters.abs().amax((1, 2, 3), keepdim=True).clamp_min(torch.finfo(filters.dtype).tiny)
    pixels = (127.5 * (1 + filters / largest)).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    columns = 2 ** round(np.log2(len(pixels)) / 2 + 0.25)
    scale = max(1, 64 // pixels.shape[1])
    side, gap = scale * pixels.shape[1], 8
    rows = -(-len(pixels) // columns)
    sheet = Image.new("RGBA", (columns * (side + gap) - gap, rows * (side + gap) - gap))  # gaps are transparent
    for number, filter_ in enumerate(pixels):
        row, column = divmod(number, columns)
        picture = Image.fromarray(filter_).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(picture, (column * (side + gap), row * (side + gap)))
    return sheet


def training_pictures(
    loader: DeviceLoader, epoch: int, label_names: list[str], smoothing: float, per_batch: int
) -> Iterator[Picture]:
    """
    Images of an epoch in its order, as the network gets them: cropped, augmented and mixed. A few of each batch,
    because all of it may be mixed alike.

    Args:
        loader: of the training images.
        epoch: counted from 1.
        label_names: of the classes, in their order.
        smoothing: `label_smoothing_factor`, which mixed targets have in them, and captions do not.
        per_batch: the first so many of each batch.
    """
    loader.sampler.start(epoch)
    for batch in loader:
        pixels = (batch["pixel_values"][:per_batch] * loader.std + loader.mean).clamp(0, 1).mul(255).round().byte()
        for image, target in zip(pixels.cpu(), batch["targets"].cpu()):
            yield Picture([to_pil_image(image)], classes_in(target, label_names, smoothing))


def explained_picture(
    model: nn.Module,
    pixels: Tensor,
    image_mean: Tensor,
    image_std: Tensor,
    label_names: list[str],
    truth: int | None = None,
    name: str = "",
) -> Picture:
    """
    An image, and what in it spoke for the model's answer; where that is wrong, also what spoke for the truth.

    Args:
        model: a classifier with stages that `stages_of` knows.
        pixels: uint8 `(channels, height, width)`, resized and cropped.
        image_mean, image_std: `(channels, 1, 1)`, for pixels in [0, 1].
        label_names: of the model's classes.
        truth: the right class, if it is known.
        name: of the image, for the caption.
    """
    stages = list(stages_of(model).values())
    device = next(model.parameters()).device
    pixel_values = normalize(pixels, image_mean, image_std)[None].to(device)
    with torch.no_grad():
        logits = model(pixel_values=pixel_values).logits[0]
    probabilities = class_scores(logits, model.config).tolist()
    answer = int(np.argmax(probabilities))
    right = None if truth is None else answer == truth
    labels = [answer] if truth is None or right else [answer, truth]
    picture = to_pil_image(pixels)
    maps = [
        grad_cam(model, pixel_values, torch.tensor([label], device=device), layers=stages)[0].cpu() for label in labels
    ]
    said = [f"{short_name(label_names[label])} {share_in_words(probabilities[label])}" for label in labels]
    caption = f"{name}: {said[0]}" if name else ", in truth ".join(said)
    return Picture([picture, *(overlay(picture, heat.numpy()) for heat in maps)], caption, right)


# The page


def unit_of(flops: int) -> tuple[str, float]:
    """Giga or mega, whichever reads better."""
    return ("G", 1e9) if flops >= 1e9 else ("M", 1e6)


def table_of(stages: list[Stage]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows, in words: a row for each stage, and one for all."""
    flops, milliseconds = sum(s.flops for s in stages), sum(s.milliseconds for s in stages)
    unit, factor = unit_of(flops)
    rows = [
        [
            stage.name,
            " × ".join(map(str, stage.output_shape)),
            f"{stage.parameters:,}",
            f"{stage.flops / factor:.2f}",
            f"{stage.flops / flops:.0%}",
            f"{stage.milliseconds:.2f}",
            f"{stage.milliseconds / milliseconds:.0%}",
        ]
        for stage in stages
    ]
    parameters = sum(s.parameters for s in stages)
    rows.append(["all", "", f"{parameters:,}", f"{flops / factor:.2f}", "", f"{milliseconds:.2f}", ""])
    return ["", "output", "parameters", f"{unit}FLOPs", "share", "ms", "share"], rows


def write_inspection(
    folder: Path,
    name: str,
    stages: list[Stage],
    explanation: str,
    filters: Image.Image | None,
    samples: list[Picture],
    samples_title: str,
    explained: list[Picture],
) -> list[Path]:
    """
    One self-contained page, `inspection.html`, and the pictures in it as PNGs: `filters`, `samples`, `grad_cam`. What
    is empty is left out.

    Args:
        folder: files of these names in it are replaced.
        name: of the model, or of the run.
        explanation: what the numbers of the stages are.
        samples_title: which images the samples are.

    Returns:
        The files, the page first.
    """
    pictures = []
    if filters is not None:
        pictures.append(folder / "filters.png")
        with replaced_file(pictures[-1]) as unfinished:
            filters.save(unfinished, "PNG")
    if samples:
        pictures.append(folder / "samples.png")
        _save_sheet(samples, pictures[-1], columns=PER_BATCH)
    if explained:
        pictures.append(folder / "grad_cam.png")
        _save_sheet(explained, pictures[-1], columns=2)
    titles, rows = table_of(stages)
    page = folder / "inspection.html"
    write_page(
        page,
        files(__package__).joinpath("inspection.html"),
        name=name,
        titles=titles,
        rows=rows,
        explanation=explanation,
        filters=data_address(pictures[0].read_bytes(), "image/png") if filters is not None else None,
        samples=[_on_the_page(picture) for picture in samples],
        samples_title=samples_title,
        explained=[_on_the_page(picture) for picture in explained],
        versions=versions(),
    )
    return [page, *pictures]


def _save_sheet(pictures: list[Picture], path: Path, columns: int) -> None:
    with replaced_file(path) as unfinished:
        draw_sheet(pictures, columns).save(unfinished, "PNG")


def _on_the_page(picture: Picture) -> dict[str, Any]:
    images = [thumbnail(image, _SIDE) for image in picture.images]
    return {"images": images, "caption": picture.caption, "right": picture.right}
