"""`resnet50 evaluate`: top-1, top-5 and loss of a model."""

import argparse
import json
import sys

import torch
from accelerate import Accelerator
from rich.progress import track

from ..data.sampling import EvaluationSampler
from ..evaluation.evaluate import evaluate_model
from ..hub.model_folder import load_model
from .evaluation_data import add_dataset_options, class_map_of, load_split, make_loader, protocol


def add_options(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Top-1, top-5 and loss of a model, each image once. On several processes: "
        "accelerate launch -m modeling_resnet50.cli evaluate …"
    )
    command.epilog = "example: resnet50 evaluate runs/digits/best --dataset digits"
    command.add_argument("model", help="folder of a model, or its id on the Hub")
    add_dataset_options(command, required=True)
    command.add_argument(
        "--mixed_precision", choices=["no", "bf16", "fp16"], help="default: accelerate's configuration"
    )
    command.add_argument("--flip", action="store_true", help="mean of the logits of each image and its mirror image")
    command.add_argument("--trust_remote_code", action="store_true", help="run the code that comes with other models")
    command.add_argument("--json", action="store_true", help="print the results as JSON")
    command.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    accelerator = Accelerator(mixed_precision=options.mixed_precision)
    model, processor = load_model(options.model, options.trust_remote_code)
    with accelerator.main_process_first():
        dataset = load_split(options, options.split)
    class_map = class_map_of(model.config, dataset.features["label"].names)
    model.to(accelerator.device, memory_format=torch.channels_last)
    sampler = EvaluationSampler(len(dataset), options.batch_size, accelerator.process_index, accelerator.num_processes)
    loader = make_loader(dataset, sampler, processor, accelerator.device, options.num_workers)
    shown = accelerator.is_main_process and sys.stderr.isatty()
    bar = iter(track(range(len(loader)), description="evaluating", disable=not shown, transient=True))
    class_map = class_map.to(accelerator.device)
    results = evaluate_model(model, loader, accelerator, class_map, lambda: next(bar, None), options.flip)
    results = {name.removeprefix("val_"): value for name, value in results.items()}
    if accelerator.is_main_process and options.json:
        print(json.dumps({**results, "images": len(dataset)}))
    elif accelerator.is_main_process:
        print(f"top-1 {results['top1']:.3%}   top-5 {results['top5']:.3%}   loss {results['loss']:.4f}   ", end="")
        resize_size, crop_size, interpolation = protocol(processor)
        flipped = ", with mirror images" if options.flip else ""
        print(f"({len(dataset):,} images, {resize_size} → {crop_size} pixels, {interpolation}{flipped})")
    accelerator.end_training()
