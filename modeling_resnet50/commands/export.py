"""`resnet50 export`: a model in the format of another library."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BitImageProcessor

from resnet50_recipe.errors import UserError
from resnet50_recipe.terminal import say

from ..data.transforms import EncodedImage
from ..evaluation.results import to_json
from ..files import replaced_file, replaced_folder, require_free
from ..hub.agreement import Agreement, made_up_photos, measure_agreement
from ..hub.exported_program import export_image_program, export_program
from ..hub.exporting import export_transformers, training_checkpoint
from ..hub.fold import fold_batch_norm
from ..hub.image_graph import ImagePreparation
from ..hub.model_folder import exif_orientation_of, load_model, save_model_and_processor
from ..hub.onnx import export_onnx, open_session
from ..hub.onnx_preprocessing import PREPROCESSING_FILE, add_preprocessing, write_readme
from ..hub.runtimes import export_coreml, export_executorch, export_openvino
from ..modeling_resnet50 import ResNet50ForImageClassification
from .evaluation_data import load_split
from .quantizing import quantize


AGREEMENT_IMAGES = 200  # of --dataset, on which a file with preprocessing is held to Pillow's preparation
# Options that not all formats have.
_ONLY_FOR = {"with_preprocessing": ["onnx", "pt2"], "fp16": ["onnx", "openvino", "coreml"], "int8": ["onnx"]}


def run(options: argparse.Namespace) -> None:
    """Write the model."""
    _check(options)
    require_free(options.out, options.overwrite)
    if options.format == "pth":
        with replaced_file(options.out) as file:
            torch.save(training_checkpoint(options.model, options.dtype), file)
        _say(options)
        return
    model, processor = load_model(options.model, dtype=options.dtype)
    if not isinstance(model, ResNet50ForImageClassification):
        raise UserError(f"{options.model} is a {type(model).__name__}; make it ours first: resnet50 import")
    if options.topk is not None and not 1 <= options.topk <= model.config.num_labels:
        raise UserError(f"--topk must be between 1 and {model.config.num_labels}, the model's classes")
    model.eval()
    if options.fold_bn:
        model = fold_batch_norm(model)
    if options.format == "pt2":
        with replaced_file(options.out) as file:
            about = _export_program(model, processor, file, options)
    else:
        with replaced_folder(options.out) as folder:
            about = _export_folder(model, processor, folder, options)
    _say(options, **about)


def _check(options: argparse.Namespace) -> None:
    """What does not depend on the model."""
    for name, formats in _ONLY_FOR.items():
        if getattr(options, name) and options.format not in formats:
            raise UserError(f"--{name} is for --format {' or '.join(formats)}, and not for {options.format}")
    if options.format == "pth" and options.fold_bn:
        raise UserError("--format pth holds a model to train further, which goes without --fold_bn")
    if options.format in ("onnx", "openvino", "executorch", "coreml") and options.dtype == "auto":
        raise UserError(
            f"--dtype auto is not for {options.format}: its files are float32, and --fp16 writes half the size where "
            "the format has it"
        )
    if options.topk is not None and not options.with_preprocessing:
        raise UserError("--topk goes with --with_preprocessing: other files give logits")
    if options.max_drop is not None and not options.int8:
        raise UserError("--max_drop goes with --int8")
    if options.max_drop is not None and options.max_drop < 0:
        raise UserError("--max_drop must be 0 or more: points of top-1, as in 0.5")
    if options.int8 and options.dataset is None:
        raise UserError("--int8 needs --dataset: images to calibrate on, and to measure what it costs")


def _say(options: argparse.Namespace, **about: Any) -> None:
    if options.json:
        say(to_json({"out": str(options.out), "format": options.format, **about}))
    else:
        say(f"wrote {options.out}")


def _export_folder(
    model: ResNet50ForImageClassification, processor: BitImageProcessor, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    match options.format:
        case "transformers":
            export_transformers(model, processor, folder)
        case "onnx":
            return _export_onnx(model, processor, folder, options)
        case "openvino":
            export_openvino(model, processor, folder, fp16=options.fp16)
        case "executorch":
            export_executorch(model, processor, folder)
        case "coreml":
            export_coreml(model, processor, folder, fp16=options.fp16)
        case _:
            save_model_and_processor(folder, model, processor)
    return {}


def _export_program(
    model: ResNet50ForImageClassification, processor: BitImageProcessor, file: Path, options: argparse.Namespace
) -> dict[str, Any]:
    if not options.with_preprocessing:
        export_program(model, file, image_size=processor.crop_size["height"])
        return {}
    export_image_program(model, processor, file, options.topk)
    with open(file, "rb") as opened:  # a path would have to end in .pt2
        program = torch.export.load(opened).module()

    def answer(images: Tensor) -> Tensor:
        return program(images) if options.topk is None else program(images)[0]

    images = _photos(processor, options)
    agreement = measure_agreement(images, model, processor, ImagePreparation.of(processor), answer)
    _remark(options, f"beside Pillow's preparation: {agreement}")
    return {"agreement": asdict(agreement)}


def _export_onnx(
    model: ResNet50ForImageClassification, processor: BitImageProcessor, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """What int8 cost, and how far files with preprocessing are from Pillow's, where these were asked for."""
    export_onnx(model, processor, folder, fp16=options.fp16)
    about: dict[str, Any] = {}
    if options.int8:
        report = quantize(model, processor, folder, options)
        _remark(options, report.pop("words"))
        about["int8"] = report
    if options.with_preprocessing:
        files = add_preprocessing(folder, processor, model.config, options.topk)
        agreements = {path.name: _agreement_of(path, model, processor, options) for path in files}
        for name, agreement in agreements.items():
            _remark(options, f"{name} beside Pillow's preparation: {agreement}")
        write_readme(folder, agreements, processor, options.topk, options.dataset)
        about["agreement"] = {name: asdict(agreement) for name, agreement in agreements.items()}
    return about


def _agreement_of(
    path: Path, model: ResNet50ForImageClassification, processor: BitImageProcessor, options: argparse.Namespace
) -> Agreement:
    prepare, answer = (_first_output_of(file) for file in (path.with_name(PREPROCESSING_FILE), path))
    return measure_agreement(_photos(processor, options), model, processor, prepare, answer)


def _first_output_of(path: Path) -> Callable[[Tensor], Tensor]:
    session = open_session(path)
    name = session.get_outputs()[0].name
    return lambda images: torch.from_numpy(session.run([name], {"images": images.numpy()})[0])


def _photos(processor: BitImageProcessor, options: argparse.Namespace) -> Iterator[Tensor]:
    """Of the data, or made up; uint8 `(height, width, channels)`."""
    num_channels = len(processor.image_mean)
    if options.dataset is None:
        yield from made_up_photos(num_channels)
        return
    split = load_split(options, options.split)
    opened = partial(EncodedImage, num_channels=num_channels, exif_orientation=exif_orientation_of(processor))
    for index in range(min(len(split), AGREEMENT_IMAGES)):
        yield opened(split[index]["image"], f"row {index}")[:, :, :].permute(1, 2, 0)


def _remark(options: argparse.Namespace, words: str) -> None:
    if not options.json:
        say(words)
