"""The options of `resnet50 publish`."""

import argparse
from pathlib import Path

from .parsing import add_json_option


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "Send a model to the Hub, or what a run could not send: only what differs, in one commit. Of a run, best/ is "
        "sent."
    )
    command.epilog = "example: resnet50 publish runs/imagenet1k --to user/resnet50 --dry-run"
    command.usage = "resnet50 publish FOLDER [--to USER/NAME] [options]"
    command.add_argument("folder", type=Path, metavar="FOLDER", help="of a run, or of a model")
    command.add_argument("--to", metavar="USER/NAME", help="repository; default: the run's hub_model_id")
    command.add_argument("--revision", default="main", metavar="NAME", help="branch (default main)")
    command.add_argument("--tag", metavar="NAME", help="put on the commit, e.g. v1.0")
    command.add_argument("--message", default="Upload by resnet50 publish", metavar="TEXT", help="of the commit")
    command.add_argument("--private", action="store_true", default=None, help="if the repository has to be made")
    command.add_argument("--minutes", type=float, default=15.0, metavar="N", help="to go on trying (default 15)")
    command.add_argument("--dry-run", action="store_true", help="show what would be sent, and send nothing")
    add_json_option(command)
