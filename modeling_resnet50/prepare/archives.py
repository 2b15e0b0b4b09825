"""
Files out of archives: only regular ones, only into the folder they are meant for, and each of them whole.

Nothing is extracted by the archive's own wish: a caller says for each name where it goes, and a name, a kind of entry
or a size that has no business in a data set is refused.
"""

import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from resnet50_recipe.errors import DISK_FULL, UserError


# Images hardly shrink in an archive. Both bounds are far above ImageNet's and far below a bomb's.
MAX_RATIO = 20
MAX_ENTRIES = 2_000_000

_TAR_BLOCK = 512
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


def tar_files(file: IO[bytes], archive: str) -> Iterator[tuple[str, IO[bytes]]]:
    """
    The regular files of a tar, plain or gzipped, in its order.

    Args:
        file: seekable.
        archive: its name, for messages.

    Yields:
        name, and the content to read before the next one is asked for.

    Raises:
        UserError: damaged, truncated, or something in it that does not belong into a data set.
    """
    with damage_named(archive):
        budget = _Budget(archive, _size(file))
        with tarfile.open(fileobj=file) as tar:
            for entry in tar:
                budget.spend(entry.name, entry.size)
                if entry.isdir():
                    continue
                if not entry.isreg():
                    kind = _KINDS.get(entry.type, "an odd entry")
                    raise UserError(f"{archive} holds {kind}, {entry.name!r}: refused")
                content = tar.extractfile(entry)
                assert content is not None  # for a regular file it never is
                yield entry.name, content
            # tarfile takes a damaged or missing header for the end. The true end is a block of zeros.
            assert tar.fileobj is not None
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(_TAR_BLOCK) != bytes(_TAR_BLOCK):
                raise UserError(f"{archive} is truncated or damaged at byte {tar.offset:,}: fetch it again")


def zip_files(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """
    The regular files of a zip; as `tar_files`. Reading one to its end checks its CRC-32.
    """
    with damage_named(path.name), zipfile.ZipFile(path) as archive:
        budget = _Budget(path.name, path.stat().st_size)
        for entry in archive.infolist():
            budget.spend(entry.filename, entry.file_size)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise UserError(f"{path.name} holds a link or a device, {entry.filename!r}: refused")
            with archive.open(entry) as content:
                yield entry.filename, content


def extract(
    files: Iterable[tuple[str, IO[bytes]]],
    archive: str,
    target: Path,
    place: Callable[[str], PurePosixPath | None],
    on_file: Callable[[], None] = lambda: None,
) -> None:
    """
    Write files to where `place` puts them below `target`, which has its name only once it is whole.

    Interrupted and called again, it compares what is there with the archive and writes the rest.

    Args:
        files: as `tar_files` and `zip_files` give them.
        archive: its name, for messages.
        target: a folder. If it is there already, nothing is done.
        place: from a file's name in the archive to its path below `target`; None leaves it out.

    Raises:
        UserError: the archive is damaged, two of its files have one place, or the disk is full.
    """
    if target.is_dir():
        return
    unfinished = target.with_name(f".{target.name}.unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)
    written = set()
    with disk_full_named(target):
        for name, content in files:
            path = place(name)
            if path is None:
                continue
            if path in written:
                raise UserError(f"{archive} holds two files for {path}: refused")
            written.add(path)
            with damage_named(archive):
                data = content.read()
            _write(unfinished / path, data)
            on_file()
        if not written:
            raise UserError(f"{archive} holds no files for {target.name}/: not the archive it should be")
        finish(unfinished, target)


def finish(unfinished: Path, target: Path) -> None:
    """Give a folder its name, after what is in it has reached the disk."""
    os.sync()  # one for all: a sync for each of a million files would take days
    os.rename(unfinished, target)


@contextmanager
def disk_full_named(path: Path) -> Iterator[None]:
    """Raises: UserError, in place of the OSError for a disk or quota that is full."""
    try:
        yield
    except OSError as error:
        raise_if_disk_full(error, path)
        raise


def raise_if_disk_full(error: OSError, path: Path) -> None:
    """Raises: UserError, if that is what the error says."""
    if error.errno in DISK_FULL:
        raise UserError(
            f"no space left on the disk of {path} ({error.strerror}). Nothing is lost: make room and give the same "
            "command again, it goes on from here"
        ) from error


def _write(path: Path, data: bytes) -> None:
    """What a kill or a power failure leaves of it is found out when it is compared; `finish` brings it to the disk."""
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@contextmanager
def damage_named(archive: str) -> Iterator[None]:
    """Raises: UserError, in place of what tarfile, zipfile and zlib raise for a damaged file."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{archive} is damaged or no archive ({reason}): fetch it again") from error


class _Budget:
    """What an archive may hold."""

    def __init__(self, archive: str, size: int):
        self.archive = archive
        self.entries = MAX_ENTRIES
        self.bytes = MAX_RATIO * size

    def spend(self, name: str, size: int) -> None:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
            raise UserError(f"{self.archive} holds {name!r}, a path that leads out of its folder: refused")
        self.entries -= 1
        self.bytes -= size
        if self.entries < 0:
            raise UserError(f"{self.archive} holds more than {MAX_ENTRIES:,} entries: refused as a bomb")
        if self.bytes < 0:
            raise UserError(f"{self.archive} would unpack to more than {MAX_RATIO} times its size: refused as a bomb")


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size
