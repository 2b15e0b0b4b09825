"""The options of `resnet50 publish`."""

import argparse
from pathlib import Path

from .parsing import add_json_option


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "Send a model to the Hub, or what a run could not send: only what differs, in one commit. Of a run, best/ is "
        "sent. With --space or --static_space, send a page instead, on which visitors ask the model about pictures."
    )
    command.epilog = "example: resnet50 publish runs/imagenet1k --to user/resnet50 --dry_run"
    command.usage = "resnet50 publish FOLDER [--to USER/NAME] [options]"
    command.add_argument(
        "folder", type=Path, metavar="FOLDER", help="of a run, or of a model; for a Space also a model's id"
    )
    command.add_argument("--to", metavar="USER/NAME", help="repository; default: the run's hub_model_id")
    command.add_argument("--revision", default="main", metavar="NAME", help="branch (default main)")
    command.add_argument("--tag", metavar="NAME", help="put on the commit, e.g. v1.0")
    command.add_argument("--message", default="Upload by resnet50 publish", metavar="TEXT", help="of the commit")
    command.add_argument("--private", action="store_true", default=None, help="if the repository has to be made")
    command.add_argument("--minutes", type=float, default=15.0, metavar="N", help="to go on trying (default 15)")
    command.add_argument("--dry_run", action="store_true", help="show what would be sent, and send nothing")
    add_json_option(command)
    space = command.add_argument_group("a page that asks the model (PLACE: user/name, or a folder, ./name)")
    kinds = space.add_mutually_exclusive_group()
    kinds.add_argument("--space", metavar="PLACE", help="run by a server, with Gradio: top-5 and Grad-CAM")
    kinds.add_argument("--static_space", metavar="PLACE", help="run in the visitor's browser; needs the extra onnx")
    space.add_argument("--compare", metavar="MODEL", help="with --space: a second model, beside the first")
    space.add_argument("--examples", type=Path, metavar="FOLDER", help="pictures to try, shown to everybody")
    space.add_argument("--fp32", action="store_true", help="with --static_space: twice as large, single precision")
    space.add_argument(
        "--transformers_js",
        type=Path,
        metavar="DIR",
        help="with --static_space: npm's node_modules, to carry transformers.js along instead of using a CDN",
    )
