"""What comes from strangers – names of classes, files and models, and messages with them in – shown on a terminal."""

import re
import sys
from typing import TextIO

from rich.markup import escape


# Control characters, line breaks, what turns the direction of writing, and bytes of file names that are no text.
ACTS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    """
    The same text with everything that a terminal would act on spelt out: an escape sequence is seen and not followed,
    and a line break breaks no line.
    """
    return ACTS.sub(lambda found: repr(found[0])[1:-1], str(text))


def in_table(text: object) -> str:
    """The same for rich, which understands markup."""
    return escape(printable(text))


def say(text: object = "", file: TextIO | None = None) -> None:
    """
    Print one line.

    Args:
        file: standard output unless given.
    """
    print(printable(text), file=file or sys.stdout, flush=True)
