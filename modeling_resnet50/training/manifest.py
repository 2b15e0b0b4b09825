"""A list of what a checkpoint consists of, by which damage to any of it is found before it is loaded."""

import hashlib
import json
from pathlib import Path

from ..files import give_usual_modes, replaced_file, sync


NAME = "manifest.json"


def seal(folder: Path, **facts: int | float | str) -> None:
    """
    Bring a folder to the disk, readable for whom the umask says, and write its manifest, as the last file: size and
    SHA-256 of each file, and some facts.

    The manifest has a checksum of its own, so that damage to it is found as well.
    """
    give_usual_modes(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    content = {
        **facts,
        "files": {
            str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in files
        },
    }
    for path in files:
        sync(path)
    with replaced_file(folder / NAME) as unfinished:
        unfinished.write_text(json.dumps({**content, "sha256": _checksum(content)}, indent=1) + "\n")
        sync(unfinished)
    sync(folder)


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, in a few words that name the file; None if it is whole."""
    try:
        manifest = json.loads((folder / NAME).read_text())
        checksum = manifest.pop("sha256")
        listed = manifest["files"]
    except FileNotFoundError:
        return f"{NAME} is missing: it was not finished"
    except (ValueError, KeyError, AttributeError, TypeError):
        return f"{NAME} is damaged"
    if checksum != _checksum(manifest):
        return f"{NAME} is damaged"
    for name, expected in listed.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["bytes"]:
            return f"{name} has {path.stat().st_size:,} bytes instead of {expected['bytes']:,}"
        if sha256(path) != expected["sha256"]:
            return f"{name} is not what was written"
    return None


def listed_files(folder: Path) -> list[str]:
    """The files of a sealed folder by its manifest, which is one of them; none if there is no readable one."""
    try:
        return [NAME, *json.loads((folder / NAME).read_text())["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def sha256(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
