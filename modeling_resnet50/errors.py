"""What a user did wrong, said in one line."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(ValueError):
    """Bad input: the message says what was wrong and what to do. Programs print it and exit with code 2."""


@contextmanager
def user_errors_exit_cleanly() -> Iterator[None]:
    """Turn a `UserError` into one line on stderr and exit code 2. Any other exception keeps its traceback."""
    try:
        yield
    except UserError as error:
        # Every rank speaks for itself: an unreadable image, say, is met by one rank only.
        rank = f"[rank {os.environ['RANK']}] " if int(os.environ.get("WORLD_SIZE", 1)) > 1 else ""
        print(f"{rank}error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'learning_rate'?"` for the nearest known name, or nothing if none is near."""
    nearest = get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def cause(error: Exception) -> str:
    """The reason inside huggingface_hub's two-line validation errors."""
    return str(error.__cause__ or error).strip()
