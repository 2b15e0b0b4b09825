"""What is no error, and yet not what everybody would expect, is said aloud."""

import os
import sys
from collections.abc import Callable


Note = Callable[[str], None]


def say(text: str) -> None:
    """On stderr, and by one process of several."""
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"note: {text}", file=sys.stderr, flush=True)
