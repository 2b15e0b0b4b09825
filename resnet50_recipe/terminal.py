"""What comes from strangers – names of classes, files and models, and messages with them in – shown on a terminal."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast

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


class _Unfailing:
    """A stream that loses what it cannot write."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


@contextmanager
def heard_or_not() -> Iterator[None]:
    """
    What is printed here and not taken – by a pipe whose reader has gone, a terminal that is closed, a log on a full
    disk – is lost, and no error: nothing that runs for days ends of that.
    """
    # A program that was started without them has None.
    unfailing = [stream and cast(TextIO, _Unfailing(stream)) for stream in (sys.stdout, sys.stderr)]
    try:
        with redirect_stdout(unfailing[0]), redirect_stderr(unfailing[1]):
            yield
    finally:
        let_go_of_the_unheard()


def let_go_of_the_unheard() -> bool:
    """
    Let output that is not taken lead nowhere, so that Python's own end, which flushes it, is none with an error.

    Returns:
        Whether there was any.
    """
    found = False
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            found = True
    return found
