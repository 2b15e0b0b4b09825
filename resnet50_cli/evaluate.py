"""The options of `resnet50 evaluate`."""

import argparse
from pathlib import Path

from .parsing import add_dataset_options, add_dtype_option, add_json_option, add_protocol_options


# The library's names need its imports; a test compares.
SUITES = [
    "imagenet-1k",
    "imagenet-real",
    "imagenet-v2",
    "imagenet-a",
    "imagenet-r",
    "imagenet-sketch",
    "imagenet-c",
    "objectnet",
]


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = "How good models are. On GPUs: accelerate launch -m resnet50_cli evaluate …"
    command.epilog = "example: resnet50 evaluate runs/digits/best --dataset digits --output report"
    command.usage = "resnet50 evaluate MODEL [MODEL …] --dataset SOURCE [options]"
    command.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="folder or id on the Hub, timm:NAME, weights, ONNX",
    )
    images = add_dataset_options(command)
    images.add_argument(
        "--train_val_split", type=float, metavar="SHARE", help="what this field of a recipe held out of training"
    )
    images.add_argument("--seed", type=int, default=42, metavar="N", help="of that recipe (default 42)")
    images.add_argument(
        "--suite",
        choices=["robustness", *SUITES],
        metavar="NAME",
        help="of ImageNet: real, v2, c, … or robustness: all",
    )
    images.add_argument("--suite_root", type=Path, metavar="DIR", help="where these test sets lie")
    images.add_argument("--streaming", action="store_true", help="read parquet shards where they are")
    add_protocol_options(command, ["timm", "transformers", "both"])
    command.add_argument(
        "--mixed_precision",
        choices=["no", "bf16", "fp16", "auto"],
        metavar="NAME",
        help="no, bf16, fp16, or auto: what is fast here",
    )
    command.add_argument("--torch_compile", action="store_true", help="compile the models first")
    command.add_argument("--flip", action="store_true", help="average with the mirror images")
    command.add_argument(
        "--wanted_precision", type=float, metavar="SHARE", help="find its threshold, and keep it in the model"
    )
    command.add_argument("--foreign", type=Path, metavar="DIR", help="images of no class of the model's: AUROC, FPR95")
    command.add_argument(
        "--probe",
        choices=["knn", "linear"],
        metavar="NAME",
        help="fit knn or linear on its features, and judge that",
    )
    command.add_argument("--metrics", nargs="+", default=[], metavar="NAME", help="further modules of `evaluate`")
    add_dtype_option(command)
    command.add_argument("--trust_remote_code", action="store_true", help="run code that comes with other models")
    command.add_argument("--output", type=Path, metavar="DIR", help="write results.json and report.html")
    add_json_option(command, "print a line of JSON for each model instead")
