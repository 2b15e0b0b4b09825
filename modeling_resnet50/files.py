"""
Files and folders that are whole or not there: written beside their place under a hidden name, then renamed. Who writes
holds a lock on what has that name (flock, which ends with its process); another process waits.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from resnet50_recipe.errors import UserError, storage_trouble


@contextmanager
def replaced_folder(target: Path, overwrite: bool = True) -> Iterator[Path]:
    """
    Gives a hidden folder beside `target` to fill; on leaving, it takes the place of `target`. A link stays: what it
    leads to is replaced.

    Raises:
        UserError: as by `require_free`, of which this is sure: another process may have been faster.
    """
    target = target.resolve()
    unfinished = _hidden(target, "unfinished")
    with _held(unfinished, lambda: unfinished.mkdir(parents=True, exist_ok=True)):
        try:
            require_free(target, overwrite)
            _empty(unfinished)  # what a kill has left
            yield unfinished
            give_usual_modes(unfinished)
            for path in unfinished.rglob("*"):
                sync(path)
            put_in_place(unfinished, target)
        except BaseException:
            if unfinished.exists():
                shutil.rmtree(unfinished)
            raise
        sync(target.parent)


@contextmanager
def replaced_file(target: Path, overwrite: bool = True) -> Iterator[Path]:
    """
    Gives a hidden path beside `target` to write to; on leaving, that file takes the place of `target`, once the disk
    has it: renamed before its content is written, it may be empty after a power failure. Links as above.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _hidden(target, "unfinished")
    with _held(unfinished, unfinished.touch):
        try:
            require_free(target, overwrite)
            yield unfinished
            sync(unfinished)
            os.replace(unfinished, target)
        except BaseException:  # once it has its name, a file that is called so is another process's
            unfinished.unlink(missing_ok=True)
            raise
        sync(target.parent)


@contextmanager
def not_replaced(target: Path) -> Iterator[None]:
    """While this lasts, who would replace a folder waits; if this user may write beside it, which that takes."""
    unfinished = _hidden(target.resolve(), "unfinished")
    if not os.access(unfinished.parent, os.W_OK):
        yield
        return
    with _held(unfinished, lambda: unfinished.mkdir(exist_ok=True)):
        try:
            yield
        finally:
            shutil.rmtree(unfinished)


@contextmanager
def sole_process(folder: Path, purpose: str) -> Iterator[None]:
    """
    While this lasts, no other process does the same in a folder, which is made if it is not there.

    Args:
        purpose: what it does there, for the message: "prepares data".

    Raises:
        UserError: another one does; or there is a file in its place.
    """
    is_new = not folder.exists()
    if not (is_new or folder.is_dir()):
        raise UserError(f"{folder} is a file, and not a folder: choose another place")
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder}: another process {purpose} there already; wait for it, or stop it") from error
        yield
    finally:
        _unlock(descriptor)
        if is_new:
            with suppress(OSError):  # there is something in it now
                folder.rmdir()


@contextmanager
def _held(path: Path, make: Callable[[], object]) -> Iterator[None]:
    """Make a file or folder and hold it alone: what another process held has another name, or is gone, after that."""
    while True:
        make()
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            _lock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path):
                yield
                return
        finally:
            _unlock(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _lock(descriptor: int, how: int) -> None:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        raise
    except OSError:  # some network file systems have no locks: there, one goes without
        pass


def _unlock(descriptor: int) -> None:
    _lock(descriptor, fcntl.LOCK_UN)  # closing alone would leave it to the processes that were forked meanwhile
    os.close(descriptor)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


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
