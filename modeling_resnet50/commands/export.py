"""`resnet50 export`: a model in the format of another library."""

import argparse
from pathlib import Path

import torch

from ..data.sampling import EvaluationSampler, TrainSampler
from ..errors import UserError
from ..files import replaced_file, replaced_folder, require_free
from ..hub.exported_program import export_program
from ..hub.exporting import export_transformers, training_checkpoint
from ..hub.fold import fold_batch_norm
from ..hub.model_folder import load_model, save_model_and_processor
from ..hub.onnx import add_metadata, evaluate_onnx, export_onnx, quantize_onnx
from ..modeling_resnet50 import ResNet50ForImageClassification
from .evaluation_data import add_dataset_options, class_map_of, load_split, make_loader


CALIBRATION_IMAGES = 512  # for int8: enough for the ranges of activations to settle


def add_options(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Write a model in the format of another library. Whatever is there already stays, unless --overwrite is given."
    )
    command.epilog = "example: resnet50 export runs/digits/best exported --format transformers"
    command.add_argument("model", help="folder of a model, or its id on the Hub; for pth also a checkpoint of a run")
    command.add_argument("out", type=Path, help="folder to write; for pth and pt2 a file")
    command.add_argument(
        "--format",
        choices=["resnet50", "transformers", "pth", "onnx", "pt2"],
        default="resnet50",
        help="resnet50: this library's own folder, of use with --fold-bn (default) · transformers: its own ResNet, "
        "which needs no remote code · pth: the classic dictionary of a training script · onnx: ONNX Runtime, "
        "transformers.js · pt2: torch.export",
    )
    command.add_argument(
        "--fold-bn",
        "--fold_bn",
        action="store_true",
        help="fold BatchNorm into the convolutions, for faster inference",
    )
    command.add_argument("--fp16", action="store_true", help="onnx: also a file with half the size")
    command.add_argument(
        "--int8", action="store_true", help="onnx: also a file with a quarter of the size, calibrated on --dataset"
    )
    add_dataset_options(command, required=False)
    command.add_argument("--overwrite", action="store_true", help="replace what OUT already holds")
    command.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    require_free(options.out, options.overwrite)
    if options.format == "pth":
        if options.fold_bn:
            raise UserError("--format pth holds a model to train further, which goes without --fold-bn")
        with replaced_file(options.out) as file:
            torch.save(training_checkpoint(options.model), file)
        print(f"wrote {options.out}")
        return
    model, processor = load_model(options.model)
    if not isinstance(model, ResNet50ForImageClassification):
        raise UserError(f"{options.model} is a {type(model).__name__}; make it ours first: resnet50 import")
    model.eval()
    if options.fold_bn:
        model = fold_batch_norm(model)
    if options.format == "pt2":
        with replaced_file(options.out) as file:
            export_program(model, file, image_size=processor.crop_size["height"])
    else:
        with replaced_folder(options.out) as folder:
            if options.format == "transformers":
                export_transformers(model, processor, folder)
            elif options.format == "onnx":
                _export_onnx(model, processor, folder, options)
            else:
                save_model_and_processor(folder, model, processor)
    print(f"wrote {options.out}")


def _export_onnx(model, processor, folder: Path, options: argparse.Namespace) -> None:
    if options.int8 and options.dataset is None:
        raise UserError("--int8 needs --dataset: images to calibrate on, and to measure what it costs")
    export_onnx(model, processor, folder, fp16=options.fp16)
    if not options.int8:
        return
    cpu = torch.device("cpu")
    train, validation = load_split(options, "train"), load_split(options, options.split)
    some = TrainSampler(len(train), min(len(train), CALIBRATION_IMAGES), seed=0)
    (chosen,) = list(some)[:1]
    parts = [chosen[start : start + options.batch_size] for start in range(0, len(chosen), options.batch_size)]
    calibration = make_loader(train, parts, processor, cpu, options.num_workers)
    quantized = quantize_onnx(folder, (batch["pixel_values"].numpy() for batch in calibration))
    label_names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    class_map, _ = class_map_of(label_names, validation.features["label"].names)
    measured = {}
    for name in ("model.onnx", quantized.name):
        loader = make_loader(
            validation, EvaluationSampler(len(validation), options.batch_size), processor, cpu, options.num_workers
        )
        batches = ((batch["pixel_values"].numpy(), class_map[batch["labels"]].numpy()) for batch in loader)
        measured[name] = evaluate_onnx(folder / "onnx" / name, batches)["top1"]
    before, after = measured["model.onnx"], measured[quantized.name]
    report = (
        f"int8: top-1 {after:.2%}, float32 {before:.2%}: {100 * (after - before):+.2f} points on "
        f"{len(validation):,} images of {options.dataset}, calibrated on {len(chosen):,}"
    )
    add_metadata(quantized, {"quantization": report})
    print(report)
