"""
Names of files and folders as text that can be stored, printed and compared.

To most systems a name is a string of bytes. What is not UTF-8 in it, Python has as lone surrogates, which no Arrow
table, JSON file or terminal takes.
"""

import os
import unicodedata
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes


_URI = "file://"


def as_utf8(name: str) -> str:
    r"""A name as it is, with bytes that are not UTF-8 as `\xe9`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def composed(name: str) -> str:
    """In Unicode's normal form C: macOS's older file systems take names apart (`e´`), most others do not (`é`)."""
    return unicodedata.normalize("NFC", name)


def without_path(name_or_path: str) -> str:
    """Of a file or folder that is there, its last name, since no path of this machine is of use to others."""
    path = Path(name_or_path).expanduser()
    return path.resolve().name if path.exists() else name_or_path


def path_as_text(path: str) -> str:
    """A path as it is, or as a `file://` URI (RFC 8089) if it is not UTF-8. `path_from_text` undoes it."""
    if as_utf8(path) == path:
        return path
    return _URI + quote_from_bytes(os.fsencode(os.path.abspath(path)))


def path_from_text(text: str) -> Path:
    """The file that `path_as_text` stands for."""
    if not text.startswith(_URI):
        return Path(text)
    return Path(os.fsdecode(unquote_to_bytes(text.removeprefix(_URI))))
