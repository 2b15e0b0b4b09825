"""The options of `resnet50 status`."""

import argparse
from pathlib import Path

from .parsing import add_json_option


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "How runs stand: running, stopped, failed, finished, or killed, where the process that trained is dead. Of "
        "one on another machine, a sign of life is waited for, up to twenty seconds."
    )
    command.epilog = "example: resnet50 status runs/*"
    command.usage = "resnet50 status RUN [RUN …] [options]"
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    add_json_option(command, "print a line of JSON for each run instead")
