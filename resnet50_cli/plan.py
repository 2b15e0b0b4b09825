"""The options of `resnet50 plan`."""

import argparse
from pathlib import Path

from .parsing import add_json_option


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "Steps, learning rate, memory, time and disk of a recipe, worked out without data or GPU, and complaints "
        "about what looks wrong. Fields of the recipe can be given too: --total_train_batch_size 512."
    )
    command.epilog = "example: resnet50 plan recipes/rsb_a2.yaml --num_processes 8"
    command.usage = "resnet50 plan RECIPE [options] [--FIELD VALUE …]"
    command.allow_abbrev = False  # what is not an option here is a field of the recipe
    command.add_argument("recipe", metavar="RECIPE", help="a recipe's YAML file")
    command.add_argument("--num_processes", type=int, default=8, metavar="N", help="devices (default 8)")
    command.add_argument("--num_train_images", type=int, metavar="N", help="known for the usual data sets")
    command.add_argument("--num_validation_images", type=int, metavar="N", help="known, or a tenth of that")
    command.add_argument("--num_labels", type=int, metavar="N", help="known for the usual data sets")
    command.add_argument("--images_per_second", type=float, metavar="N", help="measured on one device, at 224 pixels")
    command.add_argument("--picture", type=Path, metavar="FILE", help="PNG of the curves (default plan-NAME.png)")
    add_json_option(command)
    command.set_defaults(passes_on=True)
