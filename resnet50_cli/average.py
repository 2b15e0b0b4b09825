"""The options of `resnet50 average`."""

import argparse
from pathlib import Path

from .parsing import add_column_options, add_json_option


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "The mean of several models' weights, which must be of one architecture and the same classes: of checkpoints "
        "of a run, or of models that were fine-tuned from the same one. BatchNorm's statistics are averaged too; "
        "--recalibrate measures them anew."
    )
    command.epilog = "example: resnet50 average runs/a/best runs/b/best --output averaged"
    command.usage = "resnet50 average MODEL MODEL … --output FOLDER [options]"
    command.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="folder or id on the Hub of a model, or a folder in a run's checkpoints/",
    )
    command.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="to write")
    command.add_argument(
        "--use_ema", action="store_true", help="of checkpoints: the average that they hold (EMA or SWA)"
    )
    command.add_argument("--overwrite", action="store_true", help="replace what FOLDER already holds")
    group = command.add_argument_group("recalibration")
    group.add_argument(
        "--recalibrate", dest="dataset", metavar="SOURCE", help="whose training images: as for evaluate --dataset"
    )
    group.add_argument("--dataset_config", metavar="NAME", help="configuration on the Hub")
    group.add_argument("--split", default="train", metavar="NAME", help="default: train")
    add_column_options(group)
    group.add_argument(
        "--recalibration_steps", type=int, default=100, metavar="N", help="batches, at most (default 100)"
    )
    group.add_argument("--batch_size", type=int, default=64, metavar="N", help="images of each (default 64)")
    group.add_argument("--num_workers", type=int, default=2, metavar="N", help="that decode images (default 2)")
    add_json_option(command)
