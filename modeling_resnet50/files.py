"""Files and folders that are whole or not there: written beside their place under a hidden name, then renamed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError, storage_trouble


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Gives a hidden folder beside `target` to fill; on leaving, it takes the place of `target`."""
    unfinished = target.with_name(f".{target.name}.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        for path in unfinished.rglob("*"):
            sync(path)
        put_in_place(unfinished, target)
        sync(target.parent)
    finally:
        if unfinished.exists():
            shutil.rmtree(unfinished)


@contextmanager
def replaced_file(target: Path) -> Iterator[Path]:
    """Gives a hidden path beside `target` to write to; on leaving, that file takes the place of `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        yield unfinished
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def put_in_place(unfinished: Path, target: Path) -> None:
    """Rename a folder over another one. Killed between the two renames, `put_back` mends it."""
    old = target.with_name(f".{target.name}.old")
    if old.exists():
        shutil.rmtree(old)
    if target.exists():
        os.rename(target, old)
    os.rename(unfinished, target)
    if old.exists():
        shutil.rmtree(old)


def put_back(folder: Path) -> None:
    """Clear up after a kill: an old folder whose place is empty returns to it, what was unfinished goes."""
    for path in folder.glob(".*"):
        if path.suffix == ".old" and not (place := path.with_name(path.stem[1:])).exists():
            os.rename(path, place)
        elif path.suffix in (".old", ".unfinished", ".forgotten") and path.is_dir():
            shutil.rmtree(path)


def sync(path: Path) -> None:
    """Bring a file, or the list of names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_writable(folder: Path, what: str) -> None:
    """
    Try to write into a folder, or into the one where it would be made.

    Raises:
        UserError: that fails; `what` it is for begins the message.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not place.is_dir():
        raise UserError(f"{what} {folder}: {place} is not a folder, choose another with --{what}")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise UserError(f"{what} {folder}: {storage_trouble(error) or error}") from error


def require_free(target: Path, overwrite: bool) -> None:
    """Raises: UserError, if there is something at `target` that must not be replaced."""
    if target.exists() and not overwrite:
        raise UserError(f"{target} is there already: choose another place, or give --overwrite")
