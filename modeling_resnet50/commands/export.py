"""`resnet50 export`: a model in the format of another library."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import BitImageProcessor

from resnet50_recipe.errors import UserError
from resnet50_recipe.terminal import say

from ..data.decoding import EncodedImage
from ..data.preprocessing import Preprocessing
from ..evaluation.results import to_json
from ..files import replaced_file, replaced_folder, require_free
from ..hub.agreement import made_up_photos, measure_agreement
from ..hub.classifiers import require_one_class_per_image
from ..hub.exported_program import export_image_program, export_program
from ..hub.exporting import export_transformers, training_checkpoint
from ..hub.fold import fold_batch_norm
from ..hub.image_graph import ImagePreparation
from ..hub.model_folder import load_our_model, save_model_and_processor
from ..hub.onnx import export_onnx, open_session
from ..hub.onnx_preprocessing import PREPROCESSING_FILE, add_preprocessing, write_readme
from ..hub.runtimes import export_coreml, export_executorch, export_openvino
from ..modeling_resnet50 import ResNet50ForImageClassification
from .typed_options import Loading, Source, typed


AGREEMENT_IMAGES = 200  # of --dataset, on which a file with preprocessing is held to Pillow's preparation
# Options that not all formats have.
_ONLY_FOR = {"with_preprocessing": ["onnx", "pt2"], "fp16": ["onnx", "openvino", "coreml"], "int8": ["onnx"]}


@dataclass(frozen=True)
class Export:
    """What is to be written, and how: the options of the command line, by their names."""

    model: str
    out: Path
    format: str
    fold_bn: bool
    with_preprocessing: bool
    topk: int | None
    fp16: bool
    int8: bool
    max_drop: float | None
    dtype: Literal["float32", "auto"]
    overwrite: bool
    source: Source
    loading: Loading
    json: bool


def run(options: argparse.Namespace) -> None:
    """Write the model."""
    _export(typed(Export, options))


def _export(wanted: Export) -> None:
    _check(wanted)
    require_free(wanted.out, wanted.overwrite)
    if wanted.format == "pth":
        with replaced_file(wanted.out, wanted.overwrite) as file:
            torch.save(training_checkpoint(wanted.model, wanted.dtype), file)
        _say(wanted)
        return
    model, processor = load_our_model(wanted.model, wanted.dtype)
    num_labels = len(model.config.id2label or ())
    if wanted.topk is not None and not 1 <= wanted.topk <= num_labels:
        raise UserError(f"--topk must be between 1 and {num_labels}, the model's classes")
    if wanted.int8:
        require_one_class_per_image(wanted.model, model)
    model.eval()
    if wanted.fold_bn:
        model = fold_batch_norm(model)
    if wanted.format == "pt2":
        with replaced_file(wanted.out, wanted.overwrite) as file:
            about = _export_program(model, processor, file, wanted)
    else:
        with replaced_folder(wanted.out, wanted.overwrite) as folder:
            about = _export_folder(model, processor, folder, wanted)
    _say(wanted, **about)


def _check(wanted: Export) -> None:
    """What does not depend on the model."""
    for name, formats in _ONLY_FOR.items():
        if getattr(wanted, name) and wanted.format not in formats:
            raise UserError(f"--{name} is for --format {' or '.join(formats)}, and not for {wanted.format}")
    if wanted.format == "pth" and wanted.fold_bn:
        raise UserError("--format pth holds a model to train further, which goes without --fold_bn")
    if wanted.format in ("onnx", "openvino", "executorch", "coreml") and wanted.dtype == "auto":
        raise UserError(
            f"--dtype auto is not for {wanted.format}: its files are float32, and --fp16 writes half the size where "
            "the format has it"
        )
    if wanted.topk is not None and not wanted.with_preprocessing:
        raise UserError("--topk goes with --with_preprocessing: other files give logits")
    if wanted.max_drop is not None and not wanted.int8:
        raise UserError("--max_drop goes with --int8")
    if wanted.max_drop is not None and wanted.max_drop < 0:
        raise UserError("--max_drop must be 0 or more: points of top-1, as in 0.5")
    if wanted.int8 and wanted.source.dataset is None:
        raise UserError("--int8 needs --dataset: images to calibrate on, and to measure what it costs")


def _say(wanted: Export, **about: Any) -> None:
    if wanted.json:
        say(to_json({"out": str(wanted.out), "format": wanted.format, **about}))
    else:
        say(f"wrote {wanted.out}")


def _export_folder(
    model: ResNet50ForImageClassification, processor: BitImageProcessor, folder: Path, wanted: Export
) -> dict[str, Any]:
    match wanted.format:
        case "transformers":
            export_transformers(model, processor, folder)
        case "onnx":
            return _export_onnx(model, processor, folder, wanted)
        case "openvino":
            export_openvino(model, processor, folder, fp16=wanted.fp16)
        case "executorch":
            export_executorch(model, processor, folder)
        case "coreml":
            export_coreml(model, processor, folder, fp16=wanted.fp16)
        case _:
            save_model_and_processor(folder, model, processor)
    return {}


def _export_program(
    model: ResNet50ForImageClassification, processor: BitImageProcessor, file: Path, wanted: Export
) -> dict[str, Any]:
    if not wanted.with_preprocessing:
        export_program(model, file, image_size=processor.crop_size["height"])
        return {}
    export_image_program(model, processor, file, wanted.topk)
    with open(file, "rb") as opened:  # a path would have to end in .pt2
        program = torch.export.load(opened).module()

    def answer(images: Tensor) -> Tensor:
        return program(images) if wanted.topk is None else program(images)[0]

    prepare = ImagePreparation.of(processor)
    (agreement,) = measure_agreement(_photos(processor, wanted), model, processor, prepare, {"": answer}).values()
    _remark(wanted, f"beside Pillow's preparation: {agreement}")
    return {"agreement": asdict(agreement)}


def _export_onnx(
    model: ResNet50ForImageClassification, processor: BitImageProcessor, folder: Path, wanted: Export
) -> dict[str, Any]:
    """What int8 cost, and how far files with preprocessing are from Pillow's, where these were asked for."""
    export_onnx(model, processor, folder, fp16=wanted.fp16)
    about: dict[str, Any] = {}
    if wanted.int8:
        from .quantizing import MAX_DROP, Quantization, quantize  # with `datasets` and scipy, for int8 only

        max_drop = MAX_DROP if wanted.max_drop is None else wanted.max_drop
        report = quantize(
            model, processor, folder, Quantization(wanted.model, wanted.source, wanted.loading, max_drop)
        )
        _remark(wanted, report.pop("words"))
        about["int8"] = report
    if wanted.with_preprocessing:
        files = add_preprocessing(folder, processor, model.config, wanted.topk)
        prepare = _first_output_of(folder / "onnx" / PREPROCESSING_FILE)
        answers = {path.name: _first_output_of(path) for path in files}
        agreements = measure_agreement(_photos(processor, wanted), model, processor, prepare, answers)
        for name, agreement in agreements.items():
            _remark(wanted, f"{name} beside Pillow's preparation: {agreement}")
        write_readme(folder, agreements, processor, wanted.topk, wanted.source.dataset)
        about["agreement"] = {name: asdict(agreement) for name, agreement in agreements.items()}
    return about


def _first_output_of(path: Path) -> Callable[[Tensor], Tensor]:
    session = open_session(path)
    name = session.get_outputs()[0].name
    return lambda images: torch.from_numpy(session.run([name], {"images": images.numpy()})[0])


def _photos(processor: BitImageProcessor, wanted: Export) -> Iterator[Tensor]:
    """Of the data, or made up; uint8 `(height, width, channels)`."""
    num_channels = len(processor.image_mean)
    if wanted.source.dataset is None:
        yield from made_up_photos(num_channels)
        return
    from .evaluation_data import load_split  # with `datasets`, for who has some

    split = load_split(wanted.source, wanted.source.split)
    opened = partial(
        EncodedImage,
        num_channels=num_channels,
        exif_orientation=Preprocessing.from_processor(processor, "the model").exif_orientation,
    )
    for index in range(min(len(split), AGREEMENT_IMAGES)):
        yield opened(split[index]["image"], f"row {index}")[:, :, :].permute(1, 2, 0)


def _remark(wanted: Export, words: str) -> None:
    if not wanted.json:
        say(words)
