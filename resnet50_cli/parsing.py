"""How the parsers behave, and the options that several commands share."""

import argparse
import copy
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from resnet50_recipe.exit_codes import ExitCode


# The library's tables need torch; a test compares.
INTERPOLATIONS = ["bilinear", "bicubic"]
EXIF_ORIENTATIONS = ["apply", "ignore"]
CROP_MODES = ["center", "squash", "pad"]


class Parser(argparse.ArgumentParser):
    """An error is one line and a hint; `--debug` is known everywhere."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("formatter_class", _HelpFormatter)
        super().__init__(*arguments, **options)
        # Absent unless given: a command's default would undo what stands before the command.
        self.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="tracebacks of errors")

    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.USAGE, f"error: {message}\nhint: {self.prog} --help\n")

    def unknown(self, arguments: Sequence[str]) -> NoReturn:
        """End with the first argument that is not known, and what it may have meant."""
        name = arguments[0].partition("=")[0]
        nearest = get_close_matches(name, self._option_string_actions, n=1)
        self.error(f"unknown argument {name!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else ""))


def with_underscores(arguments: list[str]) -> list[str]:
    """
    The same command line with options as they are declared: with underscores, as fields of a recipe are. So hyphens in
    their place are understood, as by train.py. Values, and what stands behind `--`, stay as they are.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [_option_with_underscores(argument) for argument in arguments[:end]] + arguments[end:]


def _option_with_underscores(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


class _HelpFormatter(argparse.HelpFormatter):
    """For one screen: one name for each option, in a column that is wide enough. Examples can be copied: unbroken."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "example: " in text else super()._fill_text(text, width, indent)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        first = copy.copy(action)
        first.option_strings = action.option_strings[-1:] if action.dest == "help" else action.option_strings[:1]
        return super()._format_action_invocation(first)


class Version(argparse.Action):
    """The version, looked up only if it is asked for."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: str | None = None
    ) -> NoReturn:
        try:
            version = importlib.metadata.version("modeling-resnet50")
        except importlib.metadata.PackageNotFoundError:  # a source tree that is on the path, not installed
            version = importlib.import_module("modeling_resnet50").__version__
        print(f"resnet50 {version}")
        parser.exit()


class PrintCompletion(argparse.Action):
    """A shell's completion script. It holds all names itself: completing starts no Python."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: str | None = None
    ) -> NoReturn:
        try:
            import shtab
        except ImportError:
            parser.error("completion needs shtab: pip install 'modeling-resnet50[completion]'")
        _complete_files(parser, shtab.FILE)
        sys.stdout.write(shtab.complete(parser, values))
        parser.exit()


def _complete_files(parser: argparse.ArgumentParser, how: Any) -> None:
    """What is free text is a path as often as not."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command, how)
        elif action.nargs != 0 and action.choices is None and action.type in (None, Path):
            action.complete = how  # type: ignore[attr-defined]  # where shtab looks


def json_object(text: str) -> dict[str, Any]:
    """An option's value that is a JSON object."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object such as '{{\"depths\": [3, 4, 6, 3]}}': {text!r}")
    return value


def add_dataset_options(command: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """`--dataset` and what says which images and labels of it. Returns their group."""
    group = command.add_argument_group("images")
    group.add_argument("--dataset", metavar="SOURCE", help="id on the Hub, a folder, a table, or digits")
    group.add_argument("--dataset_config", metavar="NAME", help="configuration on the Hub")
    group.add_argument("--split", metavar="NAME", help="default: validation, or the only one")
    add_column_options(group)
    group.add_argument("--batch_size", type=int, default=64, metavar="N", help="of each process (default 64)")
    group.add_argument("--num_workers", type=int, default=2, metavar="N", help="that decode images (default 2)")
    return group


def add_protocol_options(command: argparse.ArgumentParser, protocols: Sequence[str]) -> None:
    """How images are resized and cropped. `protocols`: the choices of `--protocol`; the first is the default."""
    group = command.add_argument_group("image preparation (default: the model's own)")
    group.add_argument(
        "--protocol",
        choices=protocols,
        default=protocols[0],
        metavar="NAME",
        help=f"whose pixels: {', '.join(protocols[:-1])} or {protocols[-1]}",
    )
    group.add_argument("--image_size", type=int, metavar="PIXELS", help="side of the central square")
    group.add_argument("--crop_ratio", type=float, metavar="RATIO", help="of that side to the short side, e.g. 0.875")
    group.add_argument(
        "--crop_mode", choices=CROP_MODES, metavar="NAME", help="center, squash (both sides), or pad (margins)"
    )
    group.add_argument("--interpolation", choices=INTERPOLATIONS, metavar="NAME", help="bilinear or bicubic")
    group.add_argument(
        "--exif_orientation", choices=EXIF_ORIENTATIONS, metavar="NAME", help="apply: turn photos upright; or ignore"
    )


def add_dtype_option(command: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """`--dtype`: of the weights, and so of what is computed with them."""
    command.add_argument(
        "--dtype",
        choices=["float32", "auto"],
        default="float32",
        metavar="NAME",
        help="float32 (default), or auto: as it was saved",
    )


def add_json_option(command: argparse.ArgumentParser, what: str = "print JSON for scripts instead") -> None:
    """`--json`, for scripts."""
    command.add_argument("--json", action="store_true", help=what)


def add_column_options(group: argparse._ActionsContainer) -> None:
    """The columns of a data set or a table, called as in a recipe."""
    group.add_argument(
        "--image_column_name", "--image_column", dest="image_column", metavar="NAME", help="default: the only one"
    )
    group.add_argument(
        "--label_column_name", "--label_column", dest="label_column", metavar="NAME", help="default: the only one"
    )
