"""The options of `resnet50 demo`."""

import argparse
from pathlib import Path

from .parsing import add_dtype_option


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "Open a page on this machine: the top-5 of a picture, and where the model looked (Grad-CAM). It needs no "
        "network, and is seen by nobody else. `resnet50 publish --space` puts the same page on the Hub."
    )
    command.epilog = "example: resnet50 demo runs/digits/best runs/digits/final"
    command.usage = "resnet50 demo MODEL [MODEL] [options]"
    command.add_argument("model", metavar="MODEL", help="as for resnet50 evaluate, or the folder of a run")
    command.add_argument("second", nargs="?", metavar="MODEL", help="another one, to compare")
    command.add_argument(
        "--examples",
        type=Path,
        metavar="FOLDER",
        help="pictures to try; default: those of the model's folder or its data set, if they are on this disk",
    )
    command.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default 127.0.0.1: this machine")
    command.add_argument("--port", type=int, metavar="N", help="default: the first free one from 7860 on")
    command.add_argument("--share", action="store_true", help="let Gradio's servers pass it on to the internet")
    add_dtype_option(command)
    command.add_argument("--trust_remote_code", action="store_true", help="run code that comes with other models")
