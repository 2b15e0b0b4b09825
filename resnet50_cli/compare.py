"""The options of `resnet50 compare`."""

import argparse
from pathlib import Path

from .parsing import add_json_option


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "Several runs side by side: their curves in one picture, the fields of the recipe in which they differ, and "
        "their results. Runs that still train are compared as they stand."
    )
    command.epilog = "example: resnet50 compare runs/imagenet1k runs/rsb_a3"
    command.usage = "resnet50 compare RUN [RUN …] [options]"
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    command.add_argument(
        "--output", type=Path, metavar="PNG", help="the picture (default reports/comparison.png; with --json none)"
    )
    add_json_option(command, "print a line of JSON for each run instead")
