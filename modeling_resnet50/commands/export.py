"""`resnet50 export`: a model in the format of another library."""

import argparse
from pathlib import Path
from typing import Any

import torch

from resnet50_recipe.errors import UserError
from resnet50_recipe.terminal import say

from ..data.preprocessing import Preprocessing
from ..evaluation.results import to_json
from ..files import replaced_file, replaced_folder, require_free
from ..hub.exported_program import export_program
from ..hub.exporting import export_transformers, training_checkpoint
from ..hub.fold import fold_batch_norm
from ..hub.model_folder import load_model, save_model_and_processor
from ..hub.onnx import add_metadata, evaluate_onnx, export_onnx, quantize_onnx
from ..modeling_resnet50 import ResNet50ForImageClassification
from .preparation import Preparation
from .typed_options import Loading, Source, typed


CALIBRATION_IMAGES = 512  # for int8: enough for the ranges of activations to settle


def run(options: argparse.Namespace) -> None:
    """Write the model."""
    require_free(options.out, options.overwrite)
    if options.format == "pth":
        if options.fold_bn:
            raise UserError("--format pth holds a model to train further, which goes without --fold_bn")
        with replaced_file(options.out) as file:
            torch.save(training_checkpoint(options.model, options.dtype), file)
        _say(options.out, options.format, options.json)
        return
    if options.format == "onnx" and options.dtype == "auto":
        raise UserError("--dtype auto is not for ONNX files: they are float32, and --fp16 adds one of half the size")
    int8_by = (typed(Source, options), typed(Loading, options)) if options.format == "onnx" and options.int8 else None
    if int8_by is not None and options.dataset is None:
        raise UserError("--int8 needs --dataset: images to calibrate on, and to measure what it costs")
    model, processor = load_model(options.model, dtype=options.dtype)
    if not isinstance(model, ResNet50ForImageClassification):
        raise UserError(f"{options.model} is a {type(model).__name__}; make it ours first: resnet50 import")
    model.eval()
    if options.fold_bn:
        model = fold_batch_norm(model)
    if options.format == "pt2":
        with replaced_file(options.out) as file:
            export_program(model, file, image_size=processor.crop_size["height"])
        _say(options.out, options.format, options.json)
    else:
        int8 = None
        with replaced_folder(options.out) as folder:
            if options.format == "transformers":
                export_transformers(model, processor, folder)
            elif options.format == "onnx":
                export_onnx(model, processor, folder, fp16=options.fp16)
                if int8_by is not None:
                    preparation = Preparation(Preprocessing.from_processor(processor, options.model))
                    int8 = _quantize(model, preparation, folder, *int8_by)
            else:
                save_model_and_processor(folder, model, processor)
        _say(options.out, options.format, options.json, int8)


def _say(out: Path, kind: str, as_json: bool, int8: tuple[str, dict[str, Any]] | None = None) -> None:
    report, numbers = int8 or ("", None)
    if as_json:
        say(to_json({"out": str(out), "format": kind, **({"int8": numbers} if numbers else {})}))
        return
    if report:
        say(report)
    say(f"wrote {out}")


def _quantize(
    model: ResNet50ForImageClassification, preparation: Preparation, folder: Path, source: Source, loading: Loading
) -> tuple[str, dict[str, Any]]:
    """What int8 cost, in words and in numbers."""
    from ..data.sampling import EvaluationSampler, TrainSampler  # with `datasets`, for int8 only
    from .evaluation_data import class_map_of, load_split, make_loader

    cpu = torch.device("cpu")
    train, validation = load_split(source, "train"), load_split(source, source.split)
    some = TrainSampler(len(train), min(len(train), CALIBRATION_IMAGES), seed=0)
    (chosen,) = list(some)[:1]
    parts = [chosen[start : start + loading.batch_size] for start in range(0, len(chosen), loading.batch_size)]
    calibration = make_loader(train, parts, preparation, cpu, loading)
    quantized = quantize_onnx(folder, (batch["pixel_values"].numpy() for batch in calibration))
    config: Any = model.config  # whose class names transformers annotates as if they could be missing
    label_names = [config.id2label[index] for index in range(config.num_labels)]
    class_map, _ = class_map_of(label_names, validation.features["label"].names, model.config.class_codes())
    measured = {}
    for name in ("model.onnx", quantized.name):
        sampler = EvaluationSampler(len(validation), loading.batch_size)
        loader = make_loader(validation, sampler, preparation, cpu, loading)
        batches = ((batch["pixel_values"].numpy(), class_map[batch["labels"]].numpy()) for batch in loader)
        measured[name] = evaluate_onnx(folder / "onnx" / name, batches)["top1"]
    before, after = measured["model.onnx"], measured[quantized.name]
    report = (
        f"int8: top-1 {after:.2%}, float32 {before:.2%}: {100 * (after - before):+.2f} points on "
        f"{len(validation):,} images of {source.dataset}, calibrated on {len(chosen):,}"
    )
    add_metadata(quantized, {"quantization": report})
    return report, {"top1": after, "top1_float32": before, "images": len(validation), "calibrated_on": len(chosen)}
