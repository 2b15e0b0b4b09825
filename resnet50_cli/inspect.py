"""The options of `resnet50 inspect`."""

import argparse
from pathlib import Path

from .parsing import add_dtype_option, add_json_option


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "Shapes, parameters, FLOPs and time of a network's stages; its first filters; training images as it gets "
        "them; and where it looks (Grad-CAM): a table, one HTML page, and PNGs. Images come from a run's recipe, or "
        "from --config, and its fields can be given too: --dataset_name FOLDER."
    )
    command.epilog = "example: resnet50 inspect runs/digits"
    command.usage = "resnet50 inspect MODEL [options] [--FIELD VALUE …]"
    command.allow_abbrev = False  # what is not an option here is a field of the recipe
    command.add_argument(
        "model", metavar="MODEL", help="folder of a run, whose best/ is taken; or as for resnet50 evaluate"
    )
    command.add_argument("--config", type=Path, metavar="RECIPE", help="whose images to show; default: the run's own")
    command.add_argument("--samples", type=int, metavar="N", help="training images to show (default 24)")
    command.add_argument("--epoch", type=int, default=1, metavar="N", help="they are seen in (default 1, the first)")
    command.add_argument(
        "--images", nargs="+", metavar="FILE", help="for Grad-CAM; default: some of the recipe's validation images"
    )
    command.add_argument(
        "--image_size", type=int, metavar="PIXELS", help="in the table and for Grad-CAM; default: the processor's"
    )
    command.add_argument("--batch_size", type=int, default=1, metavar="N", help="when time is taken (default 1)")
    command.add_argument("--output", type=Path, metavar="DIR", help="of page and pictures (default reports/…)")
    add_dtype_option(command)
    command.add_argument("--trust_remote_code", action="store_true", help="run code that comes with other models")
    add_json_option(command, "print a line of JSON instead of the table")
    command.set_defaults(passes_on=True)
