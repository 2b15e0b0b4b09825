"""What several processes need, made by one of them. It imports nothing heavy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


@contextmanager
def made_once(path: Path) -> Iterator[bool]:
    """
    Whether this is who makes it. Others who ask for the same, in other processes, wait until it is there.

    What was begun and failed is made anew.
    """
    finished = path.with_name(f"{path.name}.finished")
    with FileLock(f"{path}.lock"):
        yield not finished.exists()
        finished.touch()
