"""`resnet50 prepare`: the steps behind its options."""

import argparse
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import datasets

from resnet50_recipe.errors import UserError
from resnet50_recipe.exit_codes import ExitCode
from resnet50_recipe.run_options import REPO_ID
from resnet50_recipe.terminal import say
from resnet50_recipe.words import command

from ..data.notes import say_note
from ..data.sources import images_and_labels, load_splits
from ..data.tables import USUAL_COLUMNS, Columns
from ..evaluation.results import to_json
from ..files import sole_process
from ..hub.upload import Item, explain_failures, send
from ..prepare.check import EXPECTATIONS, CheckResult, check_folder
from ..prepare.check_report import write_report
from ..prepare.download import download, verify
from ..prepare.hub import fetch_from_hub
from ..prepare.imagenet import prepare_imagenet
from ..prepare.known_files import IMAGENET_1K, TINY_IMAGENET, TRACKERS, ImageNetFiles, KnownFile
from ..prepare.pack import pack, packed_files
from ..prepare.steps import Steps, require_space
from ..prepare.tiny_imagenet import extract_tiny_imagenet
from ..prepare.torrent import TorrentProgress, TorrentSettings, download_torrent, identify
from .places import place_for
from .typed_options import typed


@dataclass(frozen=True)
class Checking:
    """What a data set should be, by a key of `EXPECTATIONS`; how many processes look at it; whether at its colours."""

    expect: str
    num_proc: int
    statistics: bool


@dataclass(frozen=True)
class Finishing:
    """What becomes of images that are there: checked, unless that is left out, and packed if that is asked for."""

    to: Path
    checking: Checking
    no_check: bool
    pack: bool
    short_side: int | None
    quality: int


@dataclass(frozen=True)
class Archives:
    """
    Where ImageNet's archives come from.

    Attributes:
        to: of the data set; they are downloaded into a folder of it.
        archives: a folder that holds them, if there is one.
        devkit: the development kit, if it lies elsewhere.
        torrents: files and links, one for an archive, before those that are known.
        by_torrent: how they are downloaded.
    """

    to: Path
    archives: Path | None
    devkit: Path | None
    torrents: list[str]
    by_torrent: TorrentSettings


def run(options: argparse.Namespace) -> None:
    """Prepare what was asked for."""
    with sole_process(options.to, "prepares data") if "to" in options else nullcontext():
        _PREPARE[options.what](options)


def _tiny_imagenet(options: argparse.Namespace) -> None:
    steps = Steps()
    known = TINY_IMAGENET
    if not all((options.to / split).is_dir() for split in ("train", "val")):
        if options.archives is not None:
            archive = _given(known, options.archives)
            _verify(archive, known, steps)
        else:
            require_space(options.to, 2 * (known.size or 0), "downloading and extracting Tiny-ImageNet", options.to)
            archive = _by_http(known, options.url or known.url, options.to / "archives", steps)
        extract_tiny_imagenet(archive, options.to, steps)
    _check_and_pack(options.to, typed(Finishing, options), steps)


def _imagenet(options: argparse.Namespace) -> None:
    steps = Steps()
    if options.hub is not None:
        fetch_from_hub(options.hub, options.to, steps, options.revision)
    else:
        files = IMAGENET_1K
        if not all((options.to / split).is_dir() for split in ("train", "val")):
            # Images hardly shrink in an archive: as much again, extracted.
            needed, purpose = (files.train.size or 0) + (files.val.size or 0), "extracting"
            if options.archives is None:
                needed, purpose = 2 * needed, "downloading and extracting"
            require_space(options.to, needed, f"{purpose} ImageNet-1K", options.to)
        torrents = [*options.torrent, *options.magnet]
        sources = Archives(options.to, options.archives, options.devkit, torrents, _torrent_settings(options))
        fetch = partial(_fetch_archive, sources=sources, files=files, steps=steps)
        prepare_imagenet(options.to, files, fetch, partial(_verify, steps=steps), steps)
    _check_and_pack(options.to, typed(Finishing, options), steps)


def _folder(options: argparse.Namespace) -> None:
    _require(options.source)
    columns = Columns(options.image_column, options.label_column)
    _check_and_pack(options.source, typed(Finishing, options), Steps(), columns)


def _check_alone(options: argparse.Namespace) -> None:
    _require(options.source)
    report = place_for(f"check-{options.source.resolve().name}.html", options.report, "report")
    columns = Columns(options.image_column, options.label_column)
    steps = Steps(sys.stderr if options.json else sys.stdout)
    result = _check(options.source, typed(Checking, options), report, steps, columns)
    if options.json:
        counts = {table.name: len(table.labels) for table in result.tables}
        names = result.tables[0].class_names
        found = {"images": counts, "classes": len(names), "problems": result.problems, "notes": result.notes}
        if result.image_mean is not None:
            found |= {"image_mean": result.image_mean, "image_std": result.image_std}
        say(to_json({"source": str(options.source), **found, "report": str(report)}))
    if result.problems:
        sys.exit(ExitCode.FAILED)


def _require(source: Path) -> None:
    if not source.exists():
        raise UserError(f"{source}: no such folder")


def _push(options: argparse.Namespace) -> None:
    """In one commit: whoever opens the data set finds all of it, or what was there before."""
    if not REPO_ID.contains(options.repo_id):
        raise UserError(f"{options.repo_id} is no data set: give {REPO_ID.words}")
    files = packed_files(options.source)
    item = Item(options.repo_id, "main", "Upload packed images", private=options.private, dataset=True)
    result = explain_failures(item.repo_id, lambda: send(item, files, ours=set()))
    if "refused" in result:
        raise UserError(f"cannot push to {item.repo_id}: {result['refused']}")
    if "failure" in result:
        raise UserError(f"cannot push to {item.repo_id} ({result['failure']}); the same command goes on from here")
    say(f"pushed: {result['url']}")


def _check_and_pack(source: Path, wanted: Finishing, steps: Steps, columns: Columns = USUAL_COLUMNS) -> None:
    report = wanted.to / "check.html"
    if not wanted.no_check and _check(source, wanted.checking, report, steps, columns).problems:
        raise UserError(
            f"{source} is not what it should be, see {report}; nothing was packed. If you want it as it is: --expect "
            "nothing, or --no_check"
        )
    if wanted.pack:
        size = "original" if wanted.short_side is None else wanted.short_side
        packed = wanted.to / f"packed-{size}"
        with steps.bar("pack", str(packed), "images") as on_progress:
            note = say_note if wanted.no_check else lambda text: None  # check has said it
            pack(
                images_and_labels(load_splits(str(source), note=note, columns=columns), columns),
                packed,
                short_side=wanted.short_side,
                quality=wanted.quality,
                num_proc=wanted.checking.num_proc,
                on_progress=on_progress,
            )
        steps.say("ready", f"train with {command('--dataset_name', packed)}")
    else:
        steps.say("ready", f"train with {command('--dataset_name', source)}")


def _check(
    source: Path, checking: Checking, report: Path, steps: Steps, columns: Columns = USUAL_COLUMNS
) -> CheckResult:
    expected = EXPECTATIONS[checking.expect]
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    with steps.bar("check", str(source), "images") as on_progress:
        result = check_folder(
            source,
            columns=columns,
            expected=expected,
            num_proc=checking.num_proc,
            statistics=checking.statistics,
            on_progress=on_progress,
        )
    for problem in result.problems:
        steps.say("check", f"WRONG: {problem}")
    if result.image_mean is not None:
        steps.say("check", f"image_mean: {result.image_mean}, image_std: {result.image_std}")
    steps.say("check", result.verdict)
    write_report(result, source.resolve().name, report)
    steps.say("report", f"with pictures: {report}")
    return result


def _fetch_archive(known: KnownFile, sources: Archives, files: ImageNetFiles, steps: Steps) -> Path:
    """An archive of ImageNet: the user's own, or by HTTP, or by BitTorrent."""
    downloads = sources.to / "archives"
    if known == files.devkit and sources.devkit is not None:
        return sources.devkit
    if known == files.devkit:
        unpacked = (sources.archives or downloads) / known.name.removesuffix(".tar.gz")
        if unpacked.is_dir():
            return unpacked
    if sources.archives is not None and (known.url is None or (sources.archives / known.name).is_file()):
        return _given(known, sources.archives)
    source = _torrent_source(known, files, sources.torrents)
    if source is None:
        return _by_http(known, known.url, downloads, steps)
    return _by_torrent(known, source, sources.by_torrent, downloads, steps)


def _given(known: KnownFile, folder: Path) -> Path:
    if not (folder / known.name).is_file():
        raise UserError(f"{folder} holds no {known.name}")
    return folder / known.name


def _by_http(known: KnownFile, url: str | None, folder: Path, steps: Steps) -> Path:
    assert url is not None, "what has no address has an info-hash"
    with steps.bar("fetch", f"{known.name} from {url}") as on_progress:
        return download(url, folder / known.name, size=known.size, md5=known.md5, on_progress=on_progress)


def _torrent_settings(options: argparse.Namespace) -> TorrentSettings:
    limits = {
        "download_rate": options.download_rate and 1000 * options.download_rate,
        "upload_rate": options.upload_rate and 1000 * options.upload_rate,
        "listen_interfaces": options.listen,
        "stall_timeout": options.stall_timeout,
    }
    return TorrentSettings(
        trackers=(*options.tracker, *TRACKERS),
        peers=tuple(options.peer),
        dht=not options.no_dht,
        **{name: value for name, value in limits.items() if value is not None},
    )


def _by_torrent(known: KnownFile, source: str, settings: TorrentSettings, folder: Path, steps: Steps) -> Path:
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


_PREPARE = {
    "tiny-imagenet": _tiny_imagenet,
    "imagenet1k": _imagenet,
    "folder": _folder,
    "check": _check_alone,
    "push": _push,
}
