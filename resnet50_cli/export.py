"""The options of `resnet50 export`."""

import argparse
from pathlib import Path

from .parsing import add_dataset_options, add_dtype_option, add_json_option


FORMATS = ["resnet50", "transformers", "pth", "onnx", "pt2", "openvino", "executorch", "coreml"]


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "Write a model in the format of another library. Whatever is there already stays, unless --overwrite is given."
    )
    command.epilog = "example: resnet50 export runs/digits/best exported --format transformers"
    command.usage = "resnet50 export MODEL OUT --format NAME [options]"
    command.add_argument("model", metavar="MODEL", help="a folder or an id on the Hub; for pth also a checkpoint")
    command.add_argument("out", type=Path, metavar="OUT", help="folder to write; for pth and pt2 a file")
    command.add_argument(
        "--format",
        choices=FORMATS,
        default="resnet50",
        metavar="NAME",
        help="resnet50: this library's own folder, of use with --fold_bn (default) · transformers: its own ResNet, "
        "which needs no remote code · pth: the classic dictionary of a training script · onnx: ONNX Runtime, "
        "transformers.js · pt2: torch.export · openvino · executorch · coreml",
    )
    command.add_argument("--fold_bn", action="store_true", help="BatchNorm into the convolutions: faster")
    command.add_argument(
        "--with_preprocessing", action="store_true", help="onnx, pt2: from a photo's own pixels to probabilities"
    )
    command.add_argument("--topk", type=int, metavar="N", help="with it: also the N most likely classes")
    command.add_argument("--fp16", action="store_true", help="onnx, openvino, coreml: half the size")
    command.add_argument("--int8", action="store_true", help="onnx: also a quarter of it; needs --dataset")
    command.add_argument(
        "--max_drop",
        type=float,
        metavar="POINTS",
        help="of top-1 that int8 may cost, or layers stay float (default 1)",
    )
    add_dtype_option(command)
    command.add_argument("--overwrite", action="store_true", help="replace what OUT already holds")
    add_dataset_options(command)
    add_json_option(command)
