"""The options of `resnet50 import`."""

import argparse
from pathlib import Path

from .parsing import add_dtype_option, add_json_option, json_object


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "Open a ResNet from elsewhere and write it as a folder of this library. The kind is recognised "
        "from its keys; where the source can be run, both must give the same logits."
    )
    command.epilog = "example: resnet50 import timm:resnet50.a1_in1k imported"
    command.usage = "resnet50 import SOURCE OUT [options]"
    command.add_argument(
        "source",
        metavar="SOURCE",
        help="timm:NAME · a folder of timm or of transformers' own ResNet, or its id on the Hub · a .safetensors, "
        ".pth, .pt or .bin file",
    )
    command.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    command.add_argument(
        "--classifier",
        choices=["keep", "new", "drop"],
        default="keep",
        metavar="NAME",
        help="keep the source's (default), start a new one for --num_labels, or drop it",
    )
    command.add_argument("--num_labels", type=int, metavar="N", help="classes of a new classifier")
    command.add_argument(
        "--config_overrides",
        type=json_object,
        metavar="JSON",
        help="what weights cannot show, e.g. '{\"downsample_in_bottleneck\": true}' for a v1 ResNet",
    )
    command.add_argument(
        "--weights", metavar="PLACE", help="of a file with several networks, where the wanted one lies: teacher"
    )
    add_dtype_option(command)
    command.add_argument("--overwrite", action="store_true", help="replace what OUT already holds")
    add_json_option(command)
