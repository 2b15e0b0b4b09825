"""The `resnet50` command."""

import argparse
import sys
from importlib import import_module

import transformers

from .errors import user_errors_exit_cleanly


# What each is for, and its module, which is imported only if it is the one: some take seconds.
COMMANDS = {
    "plan": ("what a recipe would take and do, before a week of GPUs goes into it", "plan"),
    "compare": ("several runs: their curves, how their recipes differ, and what came of it", "compare"),
    "prepare": ("a data set onto this disk, whole and verified", "prepare"),
    "evaluate": ("how good one or several models are, and how sure that is", "evaluate"),
    "predict": ("what a model sees in images", "predict"),
    "inspect": ("a network's stages and filters, its training images, and where it looks", "inspect"),
    "demo": ("a page to ask one model, or two side by side, about pictures", "demo"),
    "publish": ("a run or a model onto the Hub, or a page that asks it", "publish"),
    "export": ("a model in the format of another library", "export"),
    "import": ("a model of timm, torchvision or transformers as one of ours", "import_model"),
}


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit code 2 for anything the user can mend, 130 for Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="resnet50", description="ResNet-50, native to the Hugging Face ecosystem.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (purpose, module) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        if arguments[:1] == [name]:
            import_module(f".commands.{module}", __package__).add_options(command)
    options, options.passed_on = parser.parse_known_args(arguments)
    if options.passed_on and not getattr(options, "passes_on", False):
        parser.error(f"unrecognized arguments: {' '.join(options.passed_on)}")
    transformers.utils.logging.set_verbosity_error()  # what matters of its reports, we say ourselves
    transformers.utils.logging.disable_progress_bar()
    try:
        with user_errors_exit_cleanly():
            options.run(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
