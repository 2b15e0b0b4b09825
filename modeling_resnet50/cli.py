"""The `resnet50` command."""

import argparse
import json
import sys
from pathlib import Path

import datasets
import torch
import transformers
from accelerate import Accelerator
from rich.progress import track

from .data.loader import DeviceLoader, ImageBatches
from .data.sampling import EvaluationSampler, TrainSampler
from .data.sources import load_evaluation_split
from .data.transforms import evaluation_transform
from .errors import UserError, user_errors_exit_cleanly
from .evaluation.evaluate import evaluate_model
from .files import replaced_file, replaced_folder
from .hub.exported_program import export_program
from .hub.exporting import export_transformers, training_checkpoint
from .hub.fold import fold_batch_norm
from .hub.importing import import_model
from .hub.model_folder import load_model, save_model_and_processor
from .hub.onnx import add_metadata, evaluate_onnx, export_onnx, quantize_onnx
from .modeling_resnet50 import ResNet50ForImageClassification
from .prepare.command import add_prepare


CALIBRATION_IMAGES = 512  # for int8: enough for the ranges of activations to settle


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit code 2 for anything the user can mend, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="resnet50", description="ResNet-50, native to the Hugging Face ecosystem.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_prepare(commands)
    _add_evaluate(commands)
    _add_export(commands)
    _add_import(commands)
    options = parser.parse_args(arguments)
    transformers.utils.logging.set_verbosity_error()  # what matters of its reports, we say ourselves
    transformers.utils.logging.disable_progress_bar()
    try:
        with user_errors_exit_cleanly():
            options.run(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def _add_evaluate(commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="top-1, top-5 and loss of a model",
        description="Top-1, top-5 and loss of a model, each image once. On several processes: "
        "accelerate launch -m modeling_resnet50.cli evaluate …",
        epilog="example: resnet50 evaluate runs/digits/best --dataset digits",
    )
    command.add_argument("model", help="folder of a model, or its id on the Hub")
    _add_dataset_options(command, required=True)
    command.add_argument(
        "--mixed_precision", choices=["no", "bf16", "fp16"], help="default: accelerate's configuration"
    )
    command.add_argument("--flip", action="store_true", help="mean of the logits of each image and its mirror image")
    command.add_argument("--trust_remote_code", action="store_true", help="run the code that comes with other models")
    command.add_argument("--json", action="store_true", help="print the results as JSON")
    command.set_defaults(run=_evaluate)


def _add_dataset_options(command, required: bool) -> None:
    command.add_argument(
        "--dataset",
        required=required,
        help="a data set on the Hub, a folder of class folders or parquet files, or 'digits'",
    )
    command.add_argument("--dataset_config", help="configuration of the data set on the Hub")
    command.add_argument("--split", help="default: the validation split, or the only one there is")
    command.add_argument("--image_column", help="default: the only image column")
    command.add_argument("--label_column", help="default: the only class-label column, or 'label'")
    command.add_argument("--batch_size", type=int, default=64, help="images per process at once (default 64)")
    command.add_argument("--num_workers", type=int, default=2, help="processes that decode images (default 2)")


def _add_export(commands) -> None:
    command = commands.add_parser(
        "export",
        help="a model in the format of another library",
        description="Write a model in the format of another library. Whatever is there already stays, unless "
        "--overwrite is given.",
        epilog="example: resnet50 export runs/digits/best exported --format transformers",
    )
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
    _add_dataset_options(command, required=False)
    command.add_argument("--overwrite", action="store_true", help="replace what OUT already holds")
    command.set_defaults(run=_export)


def _add_import(commands) -> None:
    command = commands.add_parser(
        "import",
        help="a model of timm, torchvision or transformers as one of ours",
        description="Open a ResNet from elsewhere and write it as a folder of this library. The kind is recognised "
        "from its keys; where the source can be run, both must give the same logits.",
        epilog="example: resnet50 import timm:resnet50.a1_in1k imported",
    )
    command.add_argument(
        "source",
        help="timm:NAME · a folder of timm or of transformers' own ResNet, or its id on the Hub · a .safetensors, "
        ".pth, .pt or .bin file",
    )
    command.add_argument("out", type=Path, help="folder to write")
    command.add_argument(
        "--classifier",
        choices=["keep", "new", "drop"],
        default="keep",
        help="keep the source's (default), start a new one for --num_labels, or drop it",
    )
    command.add_argument("--num_labels", type=int, help="classes of a new classifier")
    command.add_argument(
        "--config_overrides",
        type=json.loads,
        help="JSON, what weights cannot show, e.g. '{\"downsample_in_bottleneck\": true}' for a v1 ResNet",
    )
    command.add_argument("--overwrite", action="store_true", help="replace what OUT already holds")
    command.set_defaults(run=_import)


def _evaluate(options: argparse.Namespace) -> None:
    accelerator = Accelerator(mixed_precision=options.mixed_precision)
    model, processor = load_model(options.model, options.trust_remote_code)
    with accelerator.main_process_first():
        dataset = _load_split(options, options.split)
    class_map = _class_map(model.config, dataset.features["label"].names)
    model.to(accelerator.device, memory_format=torch.channels_last)
    sampler = EvaluationSampler(len(dataset), options.batch_size, accelerator.process_index, accelerator.num_processes)
    loader = _loader(dataset, sampler, processor, accelerator.device, options.num_workers)
    shown = accelerator.is_main_process and sys.stderr.isatty()
    bar = iter(track(range(len(loader)), description="evaluating", disable=not shown, transient=True))
    class_map = class_map.to(accelerator.device)
    results = evaluate_model(model, loader, accelerator, class_map, lambda: next(bar, None), options.flip)
    results = {name.removeprefix("val_"): value for name, value in results.items()}
    if accelerator.is_main_process and options.json:
        print(json.dumps({**results, "images": len(dataset)}))
    elif accelerator.is_main_process:
        print(f"top-1 {results['top1']:.3%}   top-5 {results['top5']:.3%}   loss {results['loss']:.4f}   ", end="")
        resize_size, crop_size, interpolation = _protocol(processor)
        flipped = ", with mirror images" if options.flip else ""
        print(f"({len(dataset):,} images, {resize_size} → {crop_size} pixels, {interpolation}{flipped})")
    accelerator.end_training()


def _load_split(options: argparse.Namespace, split: str | None) -> datasets.Dataset:
    if options.batch_size < 1 or options.num_workers < 0:
        raise UserError("--batch_size must be at least 1 and --num_workers at least 0")
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    return load_evaluation_split(
        options.dataset, split, options.dataset_config, options.image_column, options.label_column
    )


def _loader(dataset: datasets.Dataset, sampler, processor, device: torch.device, num_workers: int) -> DeviceLoader:
    batches = ImageBatches(dataset, evaluation_transform(*_protocol(processor)))
    return DeviceLoader(batches, sampler, device, processor.image_mean, processor.image_std, num_workers)


def _class_map(config: transformers.PreTrainedConfig, data_names: list[str]) -> torch.Tensor:
    """The model's class for each class of the data: by name where the names agree, else by position."""
    if set(data_names) <= set(config.label2id):
        return torch.tensor([int(config.label2id[name]) for name in data_names])
    if len(data_names) != config.num_labels:
        raise UserError(
            f"the data has {len(data_names)} classes ({data_names[0]}, …), the model {config.num_labels} "
            f"({config.id2label[0]}, …)"
        )
    print("note: the data's class names are not the model's; classes are matched by position", file=sys.stderr)
    return torch.arange(len(data_names))


def _protocol(processor) -> tuple[int, int, str]:
    """Short side, crop and interpolation, as the model's own processor states them."""
    try:
        interpolation = {2: "bilinear", 3: "bicubic"}[int(processor.resample)]
        crop_size = processor.crop_size
        if crop_size["height"] != crop_size["width"]:
            raise KeyError("a square crop")
        return processor.size["shortest_edge"], crop_size["height"], interpolation
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{type(processor).__name__} does not resize the short side and crop the centre, which is all that "
            f"`resnet50 evaluate` can do; missing: {error}"
        ) from error


def _export(options: argparse.Namespace) -> None:
    _check_free(options.out, options.overwrite)
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
    train, validation = _load_split(options, "train"), _load_split(options, options.split)
    some = TrainSampler(len(train), min(len(train), CALIBRATION_IMAGES), seed=0)
    (chosen,) = list(some)[:1]
    parts = [chosen[start : start + options.batch_size] for start in range(0, len(chosen), options.batch_size)]
    calibration = _loader(train, parts, processor, cpu, options.num_workers)
    quantized = quantize_onnx(folder, (batch["pixel_values"].numpy() for batch in calibration))
    class_map = _class_map(model.config, validation.features["label"].names)
    measured = {}
    for name in ("model.onnx", quantized.name):
        loader = _loader(
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


def _import(options: argparse.Namespace) -> None:
    _check_free(options.out, options.overwrite)
    imported = import_model(
        options.source,
        classifier=options.classifier,
        num_labels=options.num_labels,
        config_overrides=options.config_overrides,
    )
    with replaced_folder(options.out) as folder:
        save_model_and_processor(folder, imported.model, imported.processor)
    for note in imported.notes:
        print(note)
    print(f"wrote {options.out}: {imported.model.num_parameters():,} parameters")


def _check_free(out: Path, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise UserError(f"{out} is there already: choose another place, or give --overwrite")


if __name__ == "__main__":
    main()
