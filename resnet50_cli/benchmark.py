"""The options of `resnet50 benchmark`."""

import argparse
from pathlib import Path

from .parsing import add_json_option


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "Latency and throughput of models, by every runtime that is installed, in turns; and how far apart their "
        "answers are."
    )
    command.epilog = "example: resnet50 benchmark runs/digits/best --batch_sizes 1,8,32 --output speed"
    command.usage = "resnet50 benchmark MODEL [MODEL …] [options]"
    command.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="a folder or an id on the Hub, run by PyTorch and, if it is one of this library, exported for each other "
        "runtime; or a file that resnet50 export wrote, run by its own",
    )
    command.add_argument(
        "--batch_sizes", type=_sizes, default=[1, 8, 32], metavar="N,N", help="images at once (default 1,8,32)"
    )
    command.add_argument("--image_size", type=int, metavar="PIXELS", help="default: the model's own, or 224")
    command.add_argument("--rounds", type=int, default=20, metavar="N", help="timed calls of each (default 20)")
    command.add_argument("--threads", type=int, metavar="N", help="default: as many as PyTorch takes")
    command.add_argument("--device", metavar="NAME", help="cpu, or a GPU as in cuda:0; default: what is here")
    command.add_argument("--output", type=Path, metavar="DIR", help="write benchmark.json and benchmark.png")
    add_json_option(command)


def _sizes(text: str) -> list[int]:
    sizes = text.split(",")
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise argparse.ArgumentTypeError(f"numbers above 0 with commas between them, as in 1,8,32: got {text!r}")
    return [int(size) for size in sizes]
