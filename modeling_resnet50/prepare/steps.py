"""What the steps of preparing a data set have in common: saying where they are, and remembering what was verified."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from resnet50_recipe.errors import UserError
from resnet50_recipe.terminal import printable

from ..files import replaced_file


OnProgress = Callable[..., None]
"""`(done, total, remark="")`, in bytes or images. The total may be unknown: None."""

_LOG_EVERY = 60  # seconds, where there is no terminal to draw a bar on


class Steps:
    """The voice of `resnet50 prepare`: a line for each step, and a bar while it lasts."""

    def __init__(self, file=None):
        self.console = Console(file=file or sys.stdout, soft_wrap=True, highlight=False, markup=False)

    def say(self, step: str, text: str) -> None:
        """`fetch    ILSVRC2012_img_val.tar: there already`"""
        self.console.print(f"{step:<8} {printable(text)}")

    @contextmanager
    def bar(self, step: str, text: str, unit: str = "bytes") -> Iterator[OnProgress]:
        """A progress bar, or a line now and then where there is no terminal."""
        if not self.console.is_terminal:
            self.say(step, text)
            yield self._lines(step, text, unit)
            return
        counts = [DownloadColumn(), TransferSpeedColumn()] if unit == "bytes" else [MofNCompleteColumn()]
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            *counts,
            TimeRemainingColumn(),
            TextColumn("{task.fields[remark]}", markup=False),
        ]
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(f"{step:<8} {printable(text)}", total=None, remark="")
            yield lambda done, total, remark="": progress.update(task, completed=done, total=total, remark=remark)

    def _lines(self, step: str, text: str, unit: str) -> OnProgress:
        started = last = monotonic()
        first: int | None = None  # what an earlier run had done

        def show(count: float) -> str:
            return decimal(int(count)) if unit == "bytes" else f"{count:,.0f} {unit}"

        def on_progress(done: int, total: int | None, remark: str = "") -> None:
            nonlocal last, first
            first = done if first is None else first
            now = monotonic()
            if now - last < _LOG_EVERY:
                return
            last, rate = now, (done - first) / (now - started)
            parts = [f"{show(done)} of {show(total)}" if total else show(done), f"{show(rate)}/s"]
            if total and rate:
                parts.append(f"{timedelta(seconds=round((total - done) / rate))} left")
            self.say(step, f"{text}: {', '.join([*parts, *([remark] if remark else [])])}")

        return on_progress


class Verified:
    """
    Remembers which archives have been read to the end and found right, so that nobody reads 148 GB twice.

    Kept in a file of the data set's folder. An archive that has changed since, by size or time, is not remembered.
    """

    def __init__(self, folder: Path):
        self._path = folder / ".verified.json"

    def __contains__(self, archive: Path) -> bool:
        return self._read().get(archive.name) == self._stamp(archive)

    def add(self, archive: Path) -> None:
        with replaced_file(self._path) as unfinished:
            unfinished.write_text(json.dumps({**self._read(), archive.name: self._stamp(archive)}, indent=1) + "\n")

    def _read(self) -> dict[str, list[int]]:
        try:
            return json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):  # spoilt by a power failure, perhaps: then it is done again
            return {}

    @staticmethod
    def _stamp(archive: Path) -> list[int]:
        return [archive.stat().st_size, archive.stat().st_mtime_ns]


def require_space(folder: Path, needed: int, purpose: str, *done: Path) -> None:
    """
    Args:
        needed: bytes, all in all.
        purpose: `"extracting x.tar"`, for the message.
        done: files and folders that hold a part of them already.

    Raises:
        UserError: the disk of `folder` has less than what is missing of `needed`, and a tenth of that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = max(needed - sum(map(_used, done)), 0)
    free, wanted = shutil.disk_usage(folder).free, int(1.1 * missing)
    if free < wanted:
        raise UserError(
            f"{purpose} needs {decimal(wanted)} in {folder}, which has {decimal(free)} free: make room for "
            f"{decimal(wanted - free)} more, or choose another disk with --to"
        )


def _used(path: Path) -> int:
    """Bytes on the disk; a file with holes has fewer than its size says."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(512 * file.stat().st_blocks for file in files if file.is_file())
