"""Files and folders that are whole or not there: written beside their place under a hidden name, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Gives a hidden folder beside `target` to fill; on leaving, it takes the place of `target`."""
    unfinished = target.with_name(f".{target.name}.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        put_in_place(unfinished, target)
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
    """Rename a folder over another one."""
    old = target.with_name(f".{target.name}.old")
    if old.exists():
        shutil.rmtree(old)
    if target.exists():
        os.rename(target, old)
    os.rename(unfinished, target)
    if old.exists():
        shutil.rmtree(old)


def require_free(target: Path, overwrite: bool) -> None:
    """Raises: UserError, if there is something at `target` that must not be replaced."""
    if target.exists() and not overwrite:
        raise UserError(f"{target} is there already: choose another place, or give --overwrite")
