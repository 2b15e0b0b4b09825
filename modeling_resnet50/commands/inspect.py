"""`resnet50 inspect`: what a network is made of, what it is trained on, and where it looks."""

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import PartialState
from rich.console import Console
from rich.table import Table
from torch import Tensor

from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe_file import parse_recipe
from resnet50_recipe.terminal import in_table, say
from resnet50_recipe.training_arguments import TrainingArguments

from ..data.decoding import UNREADABLE, decode_image, encoded_bytes
from ..data.preprocessing import Preprocessing
from ..data.transforms import EvaluationTransform, statistics_of
from ..evaluation.inspection import (
    PER_BATCH,
    Stage,
    explained_picture,
    first_filters,
    measure_stages,
    stages_of,
    table_of,
    training_pictures,
    unit_of,
    write_inspection,
)
from ..evaluation.results import to_json
from ..hub.classifiers import Classifier, open_classifier
from ..picture_sheet import Picture
from .places import place_for
from .typed_options import Changes


if TYPE_CHECKING:
    from ..data.pipeline import TrainingData

_SAMPLES = 24
_EXPLAINED = 8
_ENOUGH_IMAGES = 32  # of a batch, to show some


def run(options: argparse.Namespace) -> None:
    """Inspect a model, on the terminal and on a page."""
    # Everything that can be wrong is found before the work begins.
    if options.batch_size < 1:
        raise UserError("--batch_size must be at least 1")
    changes = Changes(image_size=options.image_size)
    source, recipe = _source_and_recipe(options.model, options.config, options.passed_on)
    samples = _samples(options.samples, options.epoch, recipe)
    classifier = open_classifier(source, options.trust_remote_code, options.dtype)
    if classifier.is_onnx:
        raise UserError(f"{source} is an ONNX file, which shows nothing of its stages: inspect what it was made from")
    stages_of(classifier.model)
    classifier = replace(classifier, preprocessing=changes.applied_to(classifier.preprocessing))
    decode = _decoder_of(classifier.preprocessing)
    given = [(Path(path).name, _read(path, decode)) for path in options.images or []]
    data = _load(recipe) if recipe is not None and (samples or not given) else None

    classifier.model.to(PartialState().device).to(memory_format=torch.channels_last)
    stages, explanation = _measure(classifier, options.batch_size)
    if not options.json:
        _show(stages, explanation)
    shown, title = [], ""
    if samples and recipe is not None and data is not None:
        smoothing, batches = recipe.label_smoothing_factor, len(data.train_loader)
        per_batch = max(PER_BATCH, -(-samples // batches))
        pictures = training_pictures(
            data.train_loader, recipe.draws_of(options.epoch), data.label_names, smoothing, per_batch
        )
        shown = list(islice(pictures, samples))
        title = f"The first images of the first {-(-samples // per_batch)} batches of epoch {options.epoch}"
    explained = _explain(classifier, given, data)
    name = Path(options.model).resolve().name if Path(options.model).exists() else options.model
    folder = place_for("inspection-" + re.sub(r"[^\w.-]+", "-", name), options.output, "output")
    files = write_inspection(
        folder, name, stages, explanation, first_filters(classifier.model), shown, title, explained
    )
    if options.json:
        about = {
            "model": options.model,
            "image_size": classifier.preprocessing.image_size,
            "batch_size": options.batch_size,
            "device": PartialState().device.type,
        }
        say(to_json(about | _as_numbers(stages, files)))
    else:
        say()
        say(f"wrote {', '.join(map(str, files))}")


def _source_and_recipe(model: str, config: Path | None, passed_on: list[str]) -> tuple[str, TrainingArguments | None]:
    """The model to open, and where its images come from. `passed_on`: fields of the recipe."""
    path, source = Path(model), model
    if (path / "recipe.yaml").is_file() and not (path / "config.json").is_file():
        if not (path / "best").is_dir():
            raise UserError(f"{path} is a run that has no best/ yet: its first epoch is not over")
        source, config = str(path / "best"), config or path / "recipe.yaml"
    if config is not None:
        return source, parse_recipe(["--config", str(config), *passed_on])
    if passed_on:
        raise UserError(f"unknown argument {passed_on[0]!r}: fields of a recipe need --config, or a run")
    return source, None


def _samples(wanted: int | None, epoch: int, recipe: TrainingArguments | None) -> int:
    if recipe is None:
        if wanted:
            raise UserError("--samples needs a recipe that says how images are augmented: --config recipes/NAME.yaml")
        return 0
    if wanted is not None and wanted < 0:
        raise UserError("--samples must be 0 or more")
    if not 1 <= epoch <= recipe.num_train_epochs:
        raise UserError(f"--epoch must be in [1, {recipe.num_train_epochs}], the recipe's, got {epoch}")
    return _SAMPLES if wanted is None else wanted


def _decoder_of(preprocessing: Preprocessing) -> Callable[[bytes], Tensor]:
    orientation = preprocessing.exif_orientation
    return partial(decode_image, num_channels=preprocessing.num_channels, exif_orientation=orientation)


def _read(path: str, decode: Callable[[bytes], Tensor]) -> Tensor:
    try:
        return decode(Path(path).read_bytes())
    except UNREADABLE as error:
        raise UserError(f"unreadable image: {path}: {getattr(error, 'strerror', None) or error}") from error


def _load(recipe: TrainingArguments) -> "TrainingData":
    """
    The data of training, for the first of several processes where batches are large: what it gets, and how that is
    mixed, does not depend on their number.
    """
    import datasets  # a second, for inspections with a recipe only

    from ..data.pipeline import load_training_data

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    batch_size = recipe.total_train_batch_size // recipe.gradient_accumulation_steps
    num_processes = 1
    if not recipe.streaming:  # whose order does depend on it
        numbers = range(1, batch_size // _ENOUGH_IMAGES + 1)
        even = [n for n in numbers if batch_size % n == 0 and batch_size // n % 2 == 0]
        num_processes = max(even, default=1)
    return load_training_data(recipe, torch.device("cpu"), 0, 0, num_processes)


def _measure(classifier: Classifier, batch_size: int) -> tuple[list[Stage], str]:
    """The stages, and in words what was measured."""
    device = PartialState().device
    size = classifier.preprocessing.image_size
    shape = (batch_size, classifier.preprocessing.num_channels, size, size)
    pixel_values = torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last)
    stages = measure_stages(classifier.model, pixel_values)
    flops = sum(stage.flops for stage in stages)
    unit, factor = unit_of(flops)
    machine = f"{torch.get_num_threads()} CPU threads"
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    elif device.type != "cpu":
        machine = device.type
    images = "one image" if batch_size == 1 else f"{batch_size} images"
    return stages, (
        f"FLOPs: forward pass of one image of {size} × {size} pixels; a multiplication and an addition are two, so "
        f"{flops / factor:.3g} {unit}FLOPs are {flops / factor / 2:.3g} {unit}MACs; convolutions and matrix products "
        "are counted. "
        f"ms: forward pass of {images} in float32 on {machine}, median of 7."
    )


def _explain(classifier: Classifier, given: list[tuple[str, Tensor]], data: "TrainingData | None") -> list[Picture]:
    """Files that were given, or some validation images, the same ones each time."""
    transform, statistics = EvaluationTransform(classifier.preprocessing), statistics_of(classifier.preprocessing)
    images: list[tuple[Tensor, int | None, str]] = [(pixels, None, name) for name, pixels in given]
    if not given and data is not None:
        truths = _true_classes(classifier, data)
        images = [(pixels, truths[label], "") for pixels, label in _validation_images(data, classifier)]
    return [
        explained_picture(classifier.model, transform(pixels), *statistics, classifier.label_names, truth, name)
        for pixels, truth, name in images
    ]


def _true_classes(classifier: Classifier, data: "TrainingData") -> list[int | None]:
    """The model's class for each of the data's; unknown if they are others."""
    from .evaluation_data import class_map_of

    try:
        return class_map_of(classifier.label_names, data.label_names, classifier.codes)[0].tolist()
    except UserError as error:
        say(f"note: {error}: where the model looks is shown without the truth", file=sys.stderr)
        return [None] * len(data.label_names)


def _validation_images(data: "TrainingData", classifier: Classifier) -> list[tuple[Tensor, int]]:
    from ..data.streaming import StreamedImageBatches

    batches, decode = data.validation_loader.batches, _decoder_of(classifier.preprocessing)
    rows = np.random.default_rng(0).choice(len(batches), min(_EXPLAINED, len(batches)), replace=False)
    if isinstance(batches, StreamedImageBatches):
        batches.images.hold(0, [])
    return [
        (decode(encoded_bytes(batches.images[row]["image"])), int(batches.labels[row]))
        for row in sorted(rows.tolist())
    ]


def _as_numbers(stages: list[Stage], files: list[Path]) -> dict[str, Any]:
    return {
        **{key: sum(getattr(stage, key) for stage in stages) for key in ("parameters", "flops", "milliseconds")},
        "stages": [asdict(stage) | {"output_shape": list(stage.output_shape)} for stage in stages],
        "files": [str(file) for file in files],
    }


def _show(stages: list[Stage], explanation: str) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    titles, rows = table_of(stages)
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title != titles[0] or not title else "left", no_wrap=True)
    table.columns[0].justify = "left"
    for row in rows:
        table.add_row(*map(in_table, row), style="bold" if row is rows[-1] else None)
    console.print(table)
    console.print(f"\n{explanation}", style="dim")
