"""The options of `resnet50 prepare`."""

import argparse
from pathlib import Path
from typing import Any

from resnet50_recipe.cores import available_cores

from .parsing import add_column_options, add_json_option


# The library's names need its imports; tests compare.
EXPECTATIONS = ["auto", "imagenet1k", "tiny-imagenet", "nothing"]
HUB_REPOSITORY = "ILSVRC/imagenet-1k"


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them to the command's parser."""
    command.description = (
        "Fetch, verify, extract, label, check, pack. Every step can be interrupted; the same command goes on where it "
        "stopped."
    )
    command.epilog = "example: resnet50 prepare tiny-imagenet --to data/tiny-imagenet"
    command.usage = "resnet50 prepare WHAT …"
    data_sets = command.add_subparsers(
        required=True, metavar="WHAT", dest="what", title="what", prog="resnet50 prepare"
    )
    _add_tiny_imagenet(data_sets)
    _add_imagenet(data_sets)
    _add_folder(data_sets)
    _add_check(data_sets)
    _add_push(data_sets)


def _add_tiny_imagenet(data_sets: Any) -> None:
    command = data_sets.add_parser(
        "tiny-imagenet",
        help="200 classes, 64 pixels, 237 MB",
        usage="resnet50 prepare tiny-imagenet --to FOLDER [options]",
        description="Tiny-ImageNet by HTTP, into class folders. Train with recipes/tiny_imagenet.yaml.",
        epilog="example: resnet50 prepare tiny-imagenet --to data/tiny-imagenet --pack",
    )
    _add_common(command, expect="tiny-imagenet")
    command.add_argument(
        "--from", dest="archives", type=Path, metavar="FOLDER", help="that holds tiny-imagenet-200.zip already"
    )
    command.add_argument("--url", help="of the archive (default: Stanford's)")


def _add_imagenet(data_sets: Any) -> None:
    command = data_sets.add_parser(
        "imagenet1k",
        help="ILSVRC 2012: 1000 classes, 155 GB",
        usage="resnet50 prepare imagenet1k --to FOLDER [--from FOLDER | --hub] [options]",
        description="ImageNet-1K from the archives of ILSVRC 2012, which you have (--from) or which come by "
        "BitTorrent; or from the Hub (--hub), if your account has access. Mind the terms of image-net.org.",
        epilog="example: resnet50 prepare imagenet1k --to data/imagenet --from archives --pack",
    )
    _add_common(command, expect="imagenet1k")
    source = command.add_mutually_exclusive_group()
    source.add_argument("--from", dest="archives", type=Path, metavar="FOLDER", help="that holds the archives already")
    source.add_argument(
        "--hub", nargs="?", const=HUB_REPOSITORY, metavar="ID", help=f"of the data set (default {HUB_REPOSITORY})"
    )
    command.add_argument("--revision", metavar="NAME", help="of the data set on the Hub")
    command.add_argument("--devkit", type=Path, metavar="PATH", help="the development kit (default: image-net.org's)")
    torrent = command.add_argument_group("BitTorrent (needs pip install 'modeling-resnet50[torrent]')")
    torrent.add_argument("--magnet", action="append", default=[], metavar="LINK", help="another one for an archive")
    torrent.add_argument("--torrent", action="append", default=[], metavar="FILE", help="a .torrent of an archive")
    torrent.add_argument("--tracker", action="append", default=[], metavar="URL", help="a further one")
    torrent.add_argument("--peer", action="append", default=[], metavar="HOST:PORT", help="one you know")
    torrent.add_argument("--no_dht", action="store_true", help="without the distributed hash table")
    torrent.add_argument("--download_rate", type=int, metavar="KB/S", help="limit (default none)")
    torrent.add_argument("--upload_rate", type=int, metavar="KB/S", help="limit (default none)")
    torrent.add_argument("--listen", metavar="ADDRESS:PORT", help="where peers reach us")
    torrent.add_argument("--stall_timeout", type=float, metavar="SECONDS", help="without a byte: give up")


def _add_folder(data_sets: Any) -> None:
    command = data_sets.add_parser(
        "folder",
        help="check and pack images that lie here already",
        usage="resnet50 prepare folder SOURCE --to FOLDER [options]",
        description="Class folders as torchvision and timm have them, tables of files and labels, Kaggle's ImageNet, "
        "or parquet files: read as they lie, checked, and packed.",
        epilog="example: resnet50 prepare folder photos --to data/photos --pack",
    )
    command.add_argument("source", type=Path, metavar="SOURCE", help="the folder, or a table")
    add_column_options(command)
    _add_common(command)


def _add_check(data_sets: Any) -> None:
    command = data_sets.add_parser(
        "check",
        help="prove that a data set is whole and right",
        usage="resnet50 prepare check SOURCE [options]",
        description="Classes, counts, labels and every single image. Writes a report with pictures, and ends with "
        "exit code 1 if something is wrong.",
        epilog="example: resnet50 prepare check data/imagenet --expect imagenet1k",
    )
    command.add_argument("source", type=Path, metavar="SOURCE", help="folder of the data set, or a table")
    add_column_options(command)
    _add_check_options(command)
    command.add_argument("--report", type=Path, metavar="FILE", help="HTML (default reports/check-NAME.html)")
    add_json_option(command)


def _add_push(data_sets: Any) -> None:
    command = data_sets.add_parser(
        "push",
        help="a packed data set to the Hub",
        usage="resnet50 prepare push SOURCE USER/NAME [--private]",
        description="Upload a packed data set, with its card, to the Hub.",
        epilog="example: resnet50 prepare push data/photos/packed-256 user/photos --private",
    )
    command.add_argument("source", type=Path, metavar="SOURCE", help="folder that --pack wrote")
    command.add_argument("repo_id", metavar="USER/NAME", help="repository")
    command.add_argument("--private", action="store_true", help="if it has to be made")


def _add_common(command: argparse.ArgumentParser, expect: str = "auto") -> None:
    command.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="of the data set")
    _add_check_options(command, expect)
    command.add_argument("--no_check", action="store_true", help="leave the check out")
    packing = command.add_argument_group("packing")
    packing.add_argument("--pack", action="store_true", help="also parquet shards, to TO/packed-SIZE")
    packing.add_argument(
        "--short_side",
        type=_pixels,
        default=256,
        metavar="PIXELS",
        help="256, 320, 400 or none: make larger images so small (default 256); none keeps every byte",
    )
    packing.add_argument("--quality", type=int, default=90, metavar="1–100", help="of JPEGs made smaller (default 90)")


def _pixels(text: str) -> int | None:
    return None if text == "none" else int(text)


def _add_check_options(command: argparse.ArgumentParser, expect: str = "auto") -> None:
    command.add_argument("--statistics", action="store_true", help="also mean and standard deviation of the channels")
    command.add_argument(
        "--expect",
        choices=EXPECTATIONS,
        default=expect,
        metavar="NAME",
        help=f"{', '.join(EXPECTATIONS)} (default {expect})",
    )
    command.add_argument(
        "--num_proc", type=int, default=available_cores(), metavar="N", help="processes (default: the cores)"
    )
