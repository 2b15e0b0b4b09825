"""The options of `resnet50 plan`."""

import argparse
from pathlib import Path

from .parsing import add_json_option


# The plan's table needs torch; a test compares.
DEVICES = ["A100", "H100", "H200"]


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "Steps, learning rate, memory, time and disk of a recipe, worked out without GPU or training, and complaints "
        "about what looks wrong. Images on this disk are counted as training would see them. Fields of the recipe can "
        "be given too: --total_train_batch_size 512. With --budget, all recipes for ImageNet-1K side by side."
    )
    command.epilog = "example: resnet50 plan recipes/nvidia_90.yaml --nodes 4 --network 400"
    command.usage = "resnet50 plan RECIPE [options] [--FIELD VALUE …]\n       resnet50 plan --budget N [--gpu NAME]"
    command.allow_abbrev = False  # what is not an option here is a field of the recipe
    command.add_argument("recipe", nargs="?", metavar="RECIPE", help="a recipe's YAML file")
    command.add_argument("--num_processes", type=int, metavar="N", help="devices (default 1; 8 for a million images)")
    command.add_argument("--num_train_images", type=int, metavar="N", help="known or counted, mostly")
    command.add_argument("--num_validation_images", type=int, metavar="N", help="the same, or a tenth of that")
    command.add_argument("--num_labels", type=int, metavar="N", help="known or counted, mostly")
    command.add_argument("--images_per_second", type=float, metavar="N", help="measured on one device, at 224 pixels")
    command.add_argument(
        "--picture", type=Path, metavar="FILE", help="of the curves (default reports/plan-NAME.png; with --json none)"
    )
    nodes = command.add_argument_group("how it scales, up to 1024 GPUs")
    nodes.add_argument("--nodes", type=int, metavar="N", help="machines: this is shown instead")
    nodes.add_argument("--gpus_per_node", type=int, default=8, metavar="N", help="default 8")
    nodes.add_argument("--network", type=float, default=400, metavar="GBITS", help="of a node, a second (default 400)")
    command.add_argument("--budget", type=float, metavar="N", help="GPU-hours: which recipe in ./recipes gives most")
    command.add_argument(
        "--gpu", "--device", dest="device", type=str.upper, choices=DEVICES, default="A100", metavar="NAME",
        help="of --budget and --nodes: A100, H100 or H200",
    )  # fmt: skip
    add_json_option(command)
    command.set_defaults(passes_on=True)
