"""Files and folders that are whole or not there: written beside their place under a hidden name, then renamed."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resnet50_recipe.errors import UserError, storage_trouble


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """
    Gives a hidden folder beside `target` to fill; on leaving, it takes the place of `target`. A link stays: what it
    leads to is replaced.
    """
    target = target.resolve()
    unfinished = _hidden(target, "unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        give_usual_modes(unfinished)
        for path in unfinished.rglob("*"):
            sync(path)
        put_in_place(unfinished, target)
        sync(target.parent)
    finally:
        if unfinished.exists():
            shutil.rmtree(unfinished)


@contextmanager
def replaced_file(target: Path) -> Iterator[Path]:
    """
    Gives a hidden path beside `target` to write to; on leaving, that file takes the place of `target`, once the disk
    has it: renamed before its content is written, it may be empty after a power failure. Links as above.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _hidden(target, "unfinished")
    try:
        yield unfinished
        sync(unfinished)
        os.replace(unfinished, target)
        sync(target.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def give_usual_modes(folder: Path) -> None:
    """
    Give the files of a new folder the mode that any new file has there, by the umask. Since 0.8, safetensors writes
    for its user alone, whatever the umask: no colleague, web server or container could read the model.
    """
    usual = folder / ".usual"
    usual.touch()  # the umask itself can only be asked by changing it, which other threads would feel
    mode = usual.stat().st_mode
    usual.unlink()
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_mode != mode:
            path.chmod(stat.S_IMODE(mode))


def put_in_place(unfinished: Path, target: Path) -> None:
    """Rename a folder over another one. Killed between the two renames, `put_back` mends it."""
    target = target.resolve()
    old = _hidden(target, "old")
    if old.exists():
        shutil.rmtree(old)
    if target.exists():
        os.rename(target, old)
    os.rename(unfinished, target)
    if old.exists():
        shutil.rmtree(old)


def put_back(target: Path) -> None:
    """Clear up after a kill: if its place is empty, the old folder returns to it; what was unfinished goes."""
    target = target.resolve()
    old = _hidden(target, "old")
    if old.exists() and not target.exists():
        os.rename(old, target)
    for path in (old, _hidden(target, "unfinished"), _hidden(target, "forgotten")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def path_of(hidden: Path) -> Path:
    """The place of a hidden file or folder of the above; any other path as it is."""
    return hidden.with_name(hidden.name[1:].rsplit(".", 1)[0]) if hidden.name.startswith(".") else hidden


def _hidden(target: Path, state: str) -> Path:
    return target.with_name(f".{target.name}.{state}")


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
