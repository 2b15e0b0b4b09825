"""Words that what is printed is made of: numbers with their nouns, and commands to paste."""

import shlex
from numbers import Integral


_UNITS = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}


def counted(number: float | Integral, one: str, several: str | None = None) -> str:
    """
    `1 class`, `1,000 classes`, `0.5 epochs`, `1 image has`.

    Args:
        one: what follows 1.
        several: what follows any other number; the noun's usual plural unless given.
    """
    shown = f"{number:,}" if isinstance(number, Integral) else f"{number:g}"
    if number == 1:
        return f"{shown} {one}"
    return f"{shown} {several or one + ('es' if one.endswith(('s', 'x', 'sh', 'tch')) else 's')}"


def bytes_in_words(number: float) -> str:
    """In the unit that fits: 85.1 kB, 141 GB."""
    unit, size = next((unit, size) for unit, size in _UNITS.items() if number >= size or unit == "kB")
    return f"{number / size:.3g} {unit}"


def says_something(k: int, num_labels: int) -> bool:
    """Whether top-k accuracy, of so many classes, can be anything but 1."""
    return num_labels > k


def command(*words: object) -> str:
    """A line that a shell takes as these words, whatever is in them: spaces, accents, quotes."""
    return shlex.join(map(str, words))
