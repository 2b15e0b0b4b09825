"""The record at the head of a recipe's file: where it comes from, and what came of it there."""

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError


_ENTRY = re.compile(r"# {1,2}(\w[\w ]*): +(\S.*)")
_TOP1 = re.compile(r"(?:about )?([\d.]+)(?: ± [\d.]+)? % top-1")
_AT_288 = re.compile(r"([\d.]+) % at 288")


@dataclass(frozen=True)
class Header:
    """
    Attributes:
        title: the first line.
        entries: what stands behind `command:`, `source:`, `hardware:`, `expected:`, `differs:`, …, each in one line.
    """

    title: str
    entries: dict[str, str]

    @property
    def top1(self) -> float | None:
        """
        In percent, as `expected:` begins with it. None where that begins otherwise: the figure is not known, or it is
        another network's or another schedule's.
        """
        found = _TOP1.match(self.entries.get("expected", ""))
        return float(found[1]) if found else None

    @property
    def top1_at_288(self) -> float | None:
        """In percent, of the same weights on images of 288 pixels, where `expected:` has it."""
        found = _AT_288.search(self.entries.get("expected", ""))
        return float(found[1]) if found else None


def read_header(path: str | Path) -> Header:
    """
    The comment that a recipe's file begins with.

    Raises:
        UserError: no such file.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the recipe {path}: {error}") from error
    head = lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))]
    entries: dict[str, list[str]] = {}
    name = None
    for line in head[1:]:
        entry = _ENTRY.fullmatch(line)
        if entry:
            name = entry[1]
            entries[name] = [entry[2]]
        elif name is not None and line.strip("# "):
            entries[name].append(line.strip("# "))
    title = head[0].lstrip("# ") if head else ""
    return Header(title, {name: " ".join(text) for name, text in entries.items()})
