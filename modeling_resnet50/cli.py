"""The `resnet50` command."""

import argparse
import json
import sys

import datasets
import torch
import transformers
from accelerate import Accelerator
from rich.progress import track

from .data.loader import DeviceLoader, ImageBatches
from .data.sampling import EvaluationSampler
from .data.sources import load_evaluation_split
from .data.transforms import evaluation_transform
from .errors import UserError, user_errors_exit_cleanly
from .evaluation.evaluate import evaluate_model
from .hub.model_folder import load_model


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit code 2 for anything the user can mend."""
    parser = argparse.ArgumentParser(prog="resnet50", description="ResNet-50, native to the Hugging Face ecosystem.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "evaluate",
        help="top-1, top-5 and loss of a model",
        description="Top-1, top-5 and loss of a model, each image once. On several processes: "
        "accelerate launch -m modeling_resnet50.cli evaluate …",
        epilog="example: resnet50 evaluate runs/digits/best --dataset digits",
    )
    command.add_argument("model", help="folder of a model, or its id on the Hub")
    command.add_argument(
        "--dataset",
        required=True,
        help="a data set on the Hub, a folder of class folders or parquet files, or 'digits'",
    )
    command.add_argument("--dataset_config", help="configuration of the data set on the Hub")
    command.add_argument("--split", help="default: the validation split, or the only one there is")
    command.add_argument("--image_column", help="default: the only image column")
    command.add_argument("--label_column", help="default: the only class-label column, or 'label'")
    command.add_argument("--batch_size", type=int, default=64, help="images per process at once (default 64)")
    command.add_argument("--num_workers", type=int, default=2, help="processes that decode images (default 2)")
    command.add_argument(
        "--mixed_precision", choices=["no", "bf16", "fp16"], help="default: accelerate's configuration"
    )
    command.add_argument("--trust_remote_code", action="store_true", help="run the code that comes with other models")
    command.add_argument("--json", action="store_true", help="print the results as JSON")
    command.set_defaults(run=_evaluate)
    options = parser.parse_args(arguments)
    with user_errors_exit_cleanly():
        options.run(options)


def _evaluate(options: argparse.Namespace) -> None:
    if options.batch_size < 1 or options.num_workers < 0:
        raise UserError("--batch_size must be at least 1 and --num_workers at least 0")
    accelerator = Accelerator(mixed_precision=options.mixed_precision)
    transformers.utils.logging.disable_progress_bar()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    model, processor = load_model(options.model, options.trust_remote_code)
    with accelerator.main_process_first():
        dataset = load_evaluation_split(
            options.dataset, options.split, options.dataset_config, options.image_column, options.label_column
        )
    class_map = _class_map(model.config, dataset.features["label"].names)
    model.to(accelerator.device, memory_format=torch.channels_last)
    resize_size, crop_size, interpolation = _protocol(processor)
    loader = DeviceLoader(
        ImageBatches(dataset, evaluation_transform(resize_size, crop_size, interpolation)),
        EvaluationSampler(len(dataset), options.batch_size, accelerator.process_index, accelerator.num_processes),
        accelerator.device,
        processor.image_mean,
        processor.image_std,
        options.num_workers,
    )
    shown = accelerator.is_main_process and sys.stderr.isatty()
    bar = iter(track(range(len(loader)), description="evaluating", disable=not shown, transient=True))
    results = evaluate_model(
        model, loader, accelerator, class_map.to(accelerator.device), on_batch=lambda: next(bar, None)
    )
    results = {name.removeprefix("val_"): value for name, value in results.items()}
    if accelerator.is_main_process and options.json:
        print(json.dumps({**results, "images": len(dataset)}))
    elif accelerator.is_main_process:
        print(f"top-1 {results['top1']:.3%}   top-5 {results['top5']:.3%}   loss {results['loss']:.4f}   ", end="")
        print(f"({len(dataset):,} images, {resize_size} → {crop_size} pixels, {interpolation})")
    accelerator.end_training()


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


if __name__ == "__main__":
    main()
