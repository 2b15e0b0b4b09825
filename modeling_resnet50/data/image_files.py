"""Which files are images: those with the endings of the formats that are read here, and all that are by content."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from resnet50_recipe.errors import UserError

from .decoding import IMAGE_ENDINGS, is_image
from .file_names import as_utf8


FORMATS_IN_WORDS = "JPEG, PNG, WebP, BMP, GIF, TIFF, PPM, JPEG 2000, AVIF"

# What systems leave in folders that are copied or shared: their images are small copies, or none.
_OF_THE_SYSTEM = ("__MACOSX", "@eaDir")
_FIRST_FILES = 1000  # tell what kind of folder it is
_KINDS_SHOWN = 5


@dataclass
class ImageFiles:
    """
    What lies in a folder and those below it.

    Attributes:
        paths: of the images, sorted.
        below: those of them that lie in a folder below.
        left_out: files that are no images, by kind: `.txt`, `no ending`, `broken link`, ….
        first_left_out: path of one of them.
    """

    paths: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    first_left_out: str = ""

    def __iadd__(self, other: "ImageFiles") -> "ImageFiles":
        self.paths += other.paths
        self.below += other.below
        self.left_out += other.left_out
        self.first_left_out = self.first_left_out or other.first_left_out
        return self

    @property
    def left_out_in_words(self) -> str:
        """`3 × .txt, 1 × broken link; first cat/notes.txt`"""
        often = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        kinds = [f"{count:,} × {kind}" for kind, count in often[:_KINDS_SHOWN]]
        more = ["…"] if len(self.left_out) > _KINDS_SHOWN else []
        return f"{', '.join([*kinds, *more])}; first {as_utf8(self.first_left_out)}"


def find_images(folder: str | Path) -> ImageFiles:
    """
    All images of a folder and those below it. Hidden files and folders, and what systems leave, are passed over.

    Raises:
        UserError: a folder cannot be read.
    """
    found = ImageFiles()
    for entry, is_below in _files(str(folder)):
        reason = _why_no_image(entry)
        if reason is None:
            found.paths.append(entry.path)
            if is_below:
                found.below.append(entry.path)
        else:
            found.left_out[reason] += 1
            found.first_left_out = min(found.first_left_out or entry.path, entry.path)
    found.paths.sort()
    found.below.sort()
    return found


def holds_images(folder: str | Path, itself: bool = False) -> bool:
    """
    Whether there is an image among its first files.

    Args:
        itself: those in folders below do not count.
    """
    if itself:
        files = (entry for entry in _entries(str(folder)) if not _is_folder(entry))
    else:
        files = (entry for entry, _ in _files(str(folder)))
    return any(_why_no_image(entry) is None for entry in islice(files, _FIRST_FILES))


def subfolders(folder: str | Path) -> list[str]:
    """Names of the folders in a folder, sorted; not the hidden ones, and not those that systems leave."""
    return sorted(entry.name for entry in _entries(str(folder)) if _is_folder(entry))


def images_beside_folders(folder: str | Path) -> list[str]:
    """Images that lie in a folder itself, sorted by path."""
    files = (entry for entry in _entries(str(folder)) if not _is_folder(entry))
    return sorted(entry.path for entry in files if _why_no_image(entry) is None)


def _files(top: str) -> Iterator[tuple[os.DirEntry[str], bool]]:
    """Everything below that is no folder, and whether it lies in a folder below."""
    folders: list[tuple[str, frozenset[tuple[int, int]]]] = [(top, frozenset())]
    while folders:
        folder, above = folders.pop()
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link that leads back
            continue
        for entry in _entries(folder):
            if _is_folder(entry):
                folders.append((entry.path, above | {here}))
            else:
                yield entry, folder != top


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (e for e in entries if not e.name.startswith(".") and e.name not in _OF_THE_SYSTEM)
    except OSError as error:
        raise UserError(f"cannot read the folder {as_utf8(folder)}: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _why_no_image(entry: os.DirEntry[str]) -> str | None:
    """None: it is one, or has the name of one."""
    try:
        if not entry.is_file():
            return "broken link" if entry.is_symlink() else "no regular file"
    except OSError:
        return "broken link"
    ending = os.path.splitext(entry.name)[1].lower()
    if ending in IMAGE_ENDINGS or is_image(entry.path):
        return None
    return as_utf8(ending) or "no ending"
