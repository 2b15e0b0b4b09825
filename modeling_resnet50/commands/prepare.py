"""`resnet50 prepare`: its options, and the steps behind them."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from ..data.sources import load_splits
from ..errors import UserError
from ..prepare.check import EXPECTATIONS, check_folder
from ..prepare.check_report import write_report
from ..prepare.download import download, verify
from ..prepare.hub import fetch_from_hub
from ..prepare.imagenet import prepare_imagenet
from ..prepare.known_files import HUB_REPOSITORY, IMAGENET_1K, TINY_IMAGENET, TRACKERS, ImageNetFiles, KnownFile
from ..prepare.pack import pack, push
from ..prepare.steps import Steps, require_space
from ..prepare.tiny_imagenet import extract_tiny_imagenet
from ..prepare.torrent import TorrentProgress, TorrentSettings, download_torrent, identify


def add_options(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Fetch, verify, extract, label, check, pack. Every step can be interrupted; the same command goes on where it "
        "stopped."
    )
    data_sets = command.add_subparsers(required=True, metavar="WHAT")
    _add_tiny_imagenet(data_sets)
    _add_imagenet(data_sets)
    _add_folder(data_sets)
    _add_check(data_sets)
    _add_push(data_sets)


def _add_tiny_imagenet(data_sets) -> None:
    command = data_sets.add_parser(
        "tiny-imagenet",
        help="200 classes, 64 pixels, 237 MB",
        description="Tiny-ImageNet by HTTP, into class folders. Train with recipes/tiny_imagenet.yaml.",
    )
    _add_common(command, expect="tiny-imagenet")
    command.add_argument("--from", dest="archives", type=Path, help="folder that holds tiny-imagenet-200.zip already")
    command.add_argument("--url", default=TINY_IMAGENET.url, help="of the archive (default %(default)s)")
    command.set_defaults(run=_tiny_imagenet)


def _add_imagenet(data_sets) -> None:
    command = data_sets.add_parser(
        "imagenet1k",
        help="ILSVRC 2012: 1000 classes, 1.28 million images, 155 GB",
        description="ImageNet-1K from the archives of ILSVRC 2012, which you have (--from) or which come by "
        "BitTorrent; or from the Hub (--hub), if your account has access. Mind the terms of image-net.org.",
    )
    _add_common(command, expect="imagenet1k")
    source = command.add_mutually_exclusive_group()
    source.add_argument("--from", dest="archives", type=Path, help="folder that holds the archives already")
    source.add_argument(
        "--hub", nargs="?", const=HUB_REPOSITORY, metavar="ID", help=f"data set on the Hub (default {HUB_REPOSITORY})"
    )
    command.add_argument("--revision", help="of the data set on the Hub")
    command.add_argument("--devkit", type=Path, help="the development kit: archive or folder (default: image-net.org)")
    torrent = command.add_argument_group("BitTorrent (needs pip install 'modeling-resnet50[torrent]')")
    torrent.add_argument("--magnet", action="append", default=[], help="another magnet link for one of the archives")
    torrent.add_argument("--torrent", action="append", default=[], help="a .torrent file for one of the archives")
    torrent.add_argument("--tracker", action="append", default=[], help="a further tracker")
    torrent.add_argument("--peer", action="append", default=[], help="a peer you know, as host:port")
    torrent.add_argument("--no-dht", action="store_true", help="do not ask the distributed hash table for peers")
    torrent.add_argument("--download-rate", type=int, metavar="KB/S", help="limit (default none)")
    torrent.add_argument("--upload-rate", type=int, metavar="KB/S", help="limit (default none)")
    torrent.add_argument("--listen", metavar="ADDRESS:PORT", help="where peers reach us")
    torrent.add_argument("--stall-timeout", type=float, metavar="SECONDS", help="give up after so long without a byte")
    command.set_defaults(run=_imagenet)


def _add_folder(data_sets) -> None:
    command = data_sets.add_parser(
        "folder",
        help="check and pack images that lie here in a known layout",
        description="Class folders as torchvision and timm have them, Kaggle's ImageNet, or parquet files: read as "
        "they lie, checked, and packed.",
    )
    command.add_argument("source", type=Path, help="the folder")
    _add_common(command)
    command.set_defaults(run=_folder)


def _add_check(data_sets) -> None:
    command = data_sets.add_parser(
        "check",
        help="prove that a data set is whole and right",
        description="Classes, counts, labels and every single image. Writes a report with pictures, and ends with "
        "exit code 1 if something is wrong.",
    )
    command.add_argument("source", type=Path, help="folder of the data set")
    _add_check_options(command)
    command.add_argument("--report", type=Path, help="HTML file (default check-NAME.html, here)")
    command.set_defaults(run=_check_alone)


def _add_push(data_sets) -> None:
    command = data_sets.add_parser(
        "push", help="a packed data set to the Hub", description="Upload a packed data set, with its card, to the Hub."
    )
    command.add_argument("source", type=Path, help="folder that --pack wrote")
    command.add_argument("repo_id", help="user/name")
    command.add_argument("--private", action="store_true")
    command.set_defaults(run=_push)


def _add_common(command, expect: str = "auto") -> None:
    command.add_argument("--to", type=Path, required=True, help="folder of the data set")
    _add_check_options(command, expect)
    command.add_argument("--no-check", action="store_true", help="leave the check out")
    packing = command.add_argument_group("packing")
    packing.add_argument("--pack", action="store_true", help="also write parquet shards, to TO/packed-SIZE")
    packing.add_argument(
        "--short-side",
        type=_pixels,
        default=256,
        metavar="256|320|400|none",
        help="larger images are made so small; none keeps every byte (default 256)",
    )
    packing.add_argument("--quality", type=int, default=90, help="of JPEGs that are made smaller (default 90)")


def _pixels(text: str) -> int | None:
    return None if text == "none" else int(text)


def _add_check_options(command, expect: str = "auto") -> None:
    command.add_argument(
        "--expect",
        choices=list(EXPECTATIONS),
        default=expect,
        help="what it has to be; auto: ImageNet-1K if most of its classes are there (default %(default)s)",
    )
    command.add_argument(
        "--num-proc", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)"
    )


def _tiny_imagenet(options: argparse.Namespace) -> None:
    steps = Steps()
    known = TINY_IMAGENET
    if not all((options.to / split).is_dir() for split in ("train", "val")):
        if options.archives is not None:
            archive = _given(known, options.archives)
            _verify(archive, known, steps)
        else:
            require_space(options.to, 2 * known.size, "downloading and extracting Tiny-ImageNet", options.to)
            archive = _by_http(known, options.url, options.to / "archives", steps)
        extract_tiny_imagenet(archive, options.to, steps)
    _check_and_pack(options, options.to, steps)


def _imagenet(options: argparse.Namespace) -> None:
    steps = Steps()
    if options.hub is not None:
        fetch_from_hub(options.hub, options.to, steps, options.revision)
    else:
        files = IMAGENET_1K
        if not all((options.to / split).is_dir() for split in ("train", "val")):
            size = files.train.size + files.val.size  # images hardly shrink in an archive: as much again, extracted
            needed, purpose = (
                (2 * size, "downloading and extracting") if options.archives is None else (size, "extracting")
            )
            require_space(options.to, needed, f"{purpose} ImageNet-1K", options.to)
        fetch = partial(_fetch_archive, options=options, files=files, steps=steps)
        prepare_imagenet(options.to, files, fetch, partial(_verify, steps=steps), steps)
    _check_and_pack(options, options.to, steps)


def _folder(options: argparse.Namespace) -> None:
    _require(options.source)
    _check_and_pack(options, options.source, Steps())


def _check_alone(options: argparse.Namespace) -> None:
    _require(options.source)
    steps = Steps()
    report = options.report or Path(f"check-{options.source.resolve().name}.html")
    if not _check(options.source, options, report, steps):
        sys.exit(1)


def _require(source: Path) -> None:
    if not source.exists():
        raise UserError(f"{source}: no such folder")


def _push(options: argparse.Namespace) -> None:
    print(f"pushed: {push(options.source, options.repo_id, private=options.private)}")


def _check_and_pack(options: argparse.Namespace, source: Path, steps: Steps) -> None:
    if not options.no_check and not _check(source, options, options.to / "check.html", steps):
        raise UserError(
            f"{source} is not what it should be, see {options.to / 'check.html'}; nothing was packed. If you want it "
            "as it is: --expect nothing, or --no-check"
        )
    if options.pack:
        size = "original" if options.short_side is None else options.short_side
        packed = options.to / f"packed-{size}"
        with steps.bar("pack", str(packed), "images") as on_progress:
            pack(
                load_splits(str(source)),
                packed,
                short_side=options.short_side,
                quality=options.quality,
                num_proc=options.num_proc,
                on_progress=on_progress,
            )
        steps.say("ready", f"train with --dataset_name {packed}")
    else:
        steps.say("ready", f"train with --dataset_name {source}")


def _check(source: Path, options: argparse.Namespace, report: Path, steps: Steps) -> bool:
    with steps.bar("check", str(source), "images") as on_progress:
        result = check_folder(
            source, expected=EXPECTATIONS[options.expect], num_proc=options.num_proc, on_progress=on_progress
        )
    write_report(result, source.resolve().name, report)
    for problem in result.problems:
        steps.say("check", f"WRONG: {problem}")
    steps.say("check", f"{result.verdict} Report with pictures: {report}")
    return not result.problems


def _fetch_archive(known: KnownFile, options: argparse.Namespace, files: ImageNetFiles, steps: Steps) -> Path:
    """An archive of ImageNet: the user's own, or by HTTP, or by BitTorrent."""
    downloads = options.to / "archives"
    if known == files.devkit and options.devkit is not None:
        return options.devkit
    if known == files.devkit:
        unpacked = (options.archives or downloads) / known.name.removesuffix(".tar.gz")
        if unpacked.is_dir():
            return unpacked
    if options.archives is not None and (known.url is None or (options.archives / known.name).is_file()):
        return _given(known, options.archives)
    source = _torrent_source(known, files, [*options.torrent, *options.magnet])
    if source is None:
        return _by_http(known, known.url, downloads, steps)
    return _by_torrent(known, source, options, downloads, steps)


def _given(known: KnownFile, folder: Path) -> Path:
    if not (folder / known.name).is_file():
        raise UserError(f"{folder} holds no {known.name}")
    return folder / known.name


def _by_http(known: KnownFile, url: str, folder: Path, steps: Steps) -> Path:
    with steps.bar("fetch", f"{known.name} from {url}") as on_progress:
        return download(url, folder / known.name, size=known.size, md5=known.md5, on_progress=on_progress)


def _by_torrent(known: KnownFile, source: str, options: argparse.Namespace, folder: Path, steps: Steps) -> Path:
    limits = {
        "download_rate": options.download_rate and 1000 * options.download_rate,
        "upload_rate": options.upload_rate and 1000 * options.upload_rate,
        "listen_interfaces": options.listen,
        "stall_timeout": options.stall_timeout,
    }
    settings = TorrentSettings(
        trackers=(*options.tracker, *TRACKERS),
        peers=tuple(options.peer),
        dht=not options.no_dht,
        **{name: value for name, value in limits.items() if value is not None},
    )
    with steps.bar("fetch", f"{known.name} by BitTorrent") as on_progress:

        def show(progress: TorrentProgress) -> None:
            on_progress(progress.done, progress.total, _describe(progress))

        return download_torrent(
            source,
            folder,
            expected_name=known.name,
            expected_size=known.size,
            settings=settings,
            on_progress=show,
        )


def _torrent_source(known: KnownFile, files: ImageNetFiles, given: list[str]) -> str | None:
    """Among what the user gave, the one for this file; else the info-hash that is known, if one is."""
    everything = (files.train, files.val, files.devkit)
    for source in given:
        info_hash, name = identify(source)
        if name == known.name or (known.info_hash is not None and info_hash == known.info_hash):
            return source
        if name not in {f.name for f in everything} and info_hash not in {f.info_hash for f in everything}:
            names = " or ".join(f"&dn={f.name}" for f in everything)
            raise UserError(f"{source} does not say which archive it is for: add {names}")
    return known.info_hash


def _verify(archive: Path, known: KnownFile, steps: Steps) -> None:
    with steps.bar("verify", archive.name) as on_progress:
        verify(archive, size=known.size, md5=known.md5, on_progress=on_progress)


def _describe(progress: TorrentProgress) -> str:
    if progress.state == "downloading" and not progress.peers:
        return "no peers yet"
    return f"{progress.state}, {progress.peers} peers"
