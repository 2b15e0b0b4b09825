"""The options of `resnet50 predict`."""

import argparse
from pathlib import Path

from .parsing import add_dtype_option, add_json_option, add_protocol_options


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = "The most likely classes of images, with their probabilities."
    command.epilog = "example: resnet50 predict user/name photos/ --topk 3"
    command.usage = "resnet50 predict MODEL IMAGE [IMAGE …] [options]"
    command.add_argument("model", metavar="MODEL", help="as for resnet50 evaluate")
    command.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="a file; a folder, with all below it; a pattern such as 'photos/*.jpg'; or -, for paths from standard "
        "input, one a line. One that cannot be read is named, the others go on, and the exit code is 1",
    )
    command.add_argument("--topk", type=int, default=5, metavar="N", help="classes to show (default 5)")
    command.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="answer none where no class is as likely (default: the model's own, from resnet50 evaluate "
        "--wanted_precision, or 0)",
    )
    command.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write them to a table instead, .csv or .parquet: a row for each image",
    )
    command.add_argument(
        "--embeddings",
        action="store_true",
        help="with --output FILE.parquet: also what the classifier sees of each image",
    )
    command.add_argument("--batch_size", type=int, default=32, metavar="N", help="images at once (default 32)")
    add_protocol_options(command, ["timm", "transformers"])
    add_dtype_option(command)
    command.add_argument("--trust_remote_code", action="store_true", help="run code that comes with other models")
    add_json_option(command, "print a line of JSON for each image instead")
