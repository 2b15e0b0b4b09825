"""What a user did wrong, said in one line."""

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import NoReturn

from safetensors import SafetensorError

from .exit_codes import ExitCode
from .terminal import let_go_of_the_unheard, printable


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)  # to this user


class UserError(ValueError):
    """
    Bad input: the message says what was wrong and what to do. Programs print it and exit with code 2. Further
    arguments are lines of their own.
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


@contextmanager
def needs_packages(what: str, extra: str) -> Iterator[None]:
    """
    Around the imports of an extra.

    Raises:
        UserError: one of its packages is not installed, or does not load, with its own reason: a library of the
            system that is missing, say.
    """
    try:
        yield
    except ImportError as error:
        reason = error.name if isinstance(error, ModuleNotFoundError) else in_one_line(error)
        raise UserError(f"{what} needs more packages ({reason}): pip install 'modeling-resnet50[{extra}]'") from error


@contextmanager
def user_errors_exit_cleanly() -> Iterator[None]:
    """
    Turn a `UserError`, or a disk that does not take what is written, into one line on stderr and exit code 2, and
    Ctrl-C into one and 130. Any other exception keeps its traceback: what ends a run of days must be in its log, and
    launchers report it.
    """
    try:
        yield
    except UserError as error:
        _exit_with("error: " + "\n".join(map(printable, error.args)), ExitCode.USAGE)
    except (OSError, SafetensorError) as error:
        trouble = storage_trouble(error)
        if trouble is None:
            raise
        _exit_with(f"error: {printable(trouble)}", ExitCode.USAGE)
    except KeyboardInterrupt:
        _exit_with("stopped at once", ExitCode.INTERRUPTED)


@contextmanager
def errors_exit_cleanly(debug: bool = False) -> Iterator[None]:
    """
    For commands that are soon run again: as above, and what is unexpected is one line too, with exit code 1. Without a
    word where nobody reads: `resnet50 … | head`.

    Args:
        debug: print the traceback first.
    """
    try:
        with user_errors_exit_cleanly():
            try:
                yield
            except Exception:
                if debug:
                    traceback.print_exc()
                raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and let_go_of_the_unheard():
            sys.exit(ExitCode.FAILED)
        more = "" if debug else "; run again with --debug for the traceback"
        _exit_with(f"unexpected: {printable(with_its_class(error))}{more}", ExitCode.FAILED)


def storage_trouble(error: Exception) -> str | None:
    """What is wrong with the disk or the rights there, and what to do, if an error is of that kind."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, SafetensorError) and (found := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(found[1])
    place = getattr(error, "filename2", None) or getattr(error, "filename", None)
    named = "" if place is None else f" {place}"
    if number in DISK_FULL:
        return (
            f"cannot write{named}: {os.strerror(number)}. Make room, or choose another place; what is whole stays, "
            "and a run goes on with --resume_from_checkpoint auto"
        )
    if number in _CLOSED:
        return f"cannot open or write{named}: {os.strerror(number)}. Choose another place, or mend the rights"
    return None


def _exit_with(message: str, code: ExitCode) -> NoReturn:
    # Every rank speaks for itself: an unreadable image, say, is met by one rank only.
    rank = f"[rank {os.environ['RANK']}] " if int(os.environ.get("WORLD_SIZE", 1)) > 1 else ""
    with suppress(OSError):  # nobody may be there to read it
        print(f"{rank}{message}", file=sys.stderr, flush=True)
    sys.exit(code)


def in_one_line(error: BaseException) -> str:
    """Its words without line breaks; the name of its class where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def with_its_class(error: BaseException) -> str:
    """The same, as in a traceback: `ConnectionError: no route to host`."""
    return f"{type(error).__name__}: {in_one_line(error)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'learning_rate'?"` for the nearest known name, or nothing if none is near."""
    nearest = get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def cause(error: Exception) -> str:
    """The reason inside huggingface_hub's two-line validation errors."""
    return str(error.__cause__ or error).strip()
