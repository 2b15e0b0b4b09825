"""
The `resnet50` command: its parsers, and where each command is done.

This package stands beside `modeling_resnet50`, whose import registers it with transformers and takes seconds: help,
completion and mistakes on the command line are there at once.
"""

import argparse
import sys
from importlib import import_module

from resnet50_recipe.exit_codes import ExitCode
from resnet50_recipe.startup import importing

from . import (
    average,
    benchmark,
    compare,
    demo,
    evaluate,
    export,
    import_model,
    inspect,
    plan,
    predict,
    prepare,
    publish,
    status,
)
from .parsing import Parser, PrintCompletion, Version, with_underscores


# What each is for, and the options; what it does is in the module of the same name in `modeling_resnet50.commands`.
COMMANDS = {
    "plan": ("what a recipe would take and do, before it runs", plan),
    "status": ("runs: how they stand, and whether they live", status),
    "compare": ("runs: curves, recipes and results side by side", compare),
    "prepare": ("a data set onto this disk, whole and verified", prepare),
    "evaluate": ("how good models are, and how sure that is", evaluate),
    "predict": ("what a model sees in images", predict),
    "inspect": ("a network's stages and filters, and where it looks", inspect),
    "demo": ("a page to ask a model, or two, about pictures", demo),
    "publish": ("a run or a model onto the Hub, or a page that asks it", publish),
    "export": ("a model in the format of another library", export),
    "benchmark": ("how fast models answer, by each runtime here", benchmark),
    "average": ("models or checkpoints, by the mean of their weights", average),
    "import": ("a model of timm, torchvision or transformers", import_model),
}


def create_parser() -> Parser:
    """The parser of `resnet50`, with those of all commands."""
    codes = "\n".join(f"{code.value:>4}  {code.meaning}" for code in ExitCode)
    parser = Parser(
        prog="resnet50",
        usage="resnet50 COMMAND …",
        description="ResNet-50, native to the Hugging Face ecosystem.",
        epilog=f"exit codes:\n{codes}\nexample: resnet50 evaluate --help",
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version")
    parser.add_argument(
        "--print_completion",
        action=PrintCompletion,
        choices=["bash", "zsh", "tcsh"],
        metavar="SHELL",
        help="its script for bash, zsh or tcsh",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands", prog="resnet50")
    for name, (purpose, module) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        module.add_options(command)
        command.set_defaults(module=module.__name__.rpartition(".")[2], parser=command)
    return parser


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """
    The command line as options: `module` does the command, and `passed_on` is what a recipe's parser will read.

    Raises:
        SystemExit: 2 for a mistake, 0 if help was asked for.
    """
    options, passed_on = create_parser().parse_known_args(with_underscores(arguments))
    if passed_on and not getattr(options, "passes_on", False):
        options.parser.unknown(passed_on)
    options.passed_on = passed_on
    return options


def main(arguments: list[str] | None = None) -> None:
    """
    Entry point.

    Args:
        arguments: the command line, without the program's name. None: this process's own.

    Raises:
        SystemExit: any of `ExitCode` but 0.
    """
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        # Only now what takes seconds.
        errors = import_module("resnet50_recipe.errors")
        with errors.errors_exit_cleanly(debug=getattr(options, "debug", False)):
            with importing(is_program=arguments is None):
                reports = import_module("transformers.utils.logging")
                reports.set_verbosity_error()  # what matters of them, the commands say themselves
                reports.disable_progress_bar()
                command = import_module(f"modeling_resnet50.commands.{options.module}")
            command.run(options)
    except KeyboardInterrupt:
        print("stopped at once", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)
