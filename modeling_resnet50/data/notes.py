"""What is no error, and yet not what everybody would expect, is said aloud."""

import os
import sys
from collections.abc import Callable

from resnet50_recipe.terminal import say


Note = Callable[[str], None]


def say_note(text: str) -> None:
    """On stderr, and by one process of several."""
    if int(os.environ.get("RANK", 0)) == 0:
        say(f"note: {text}", file=sys.stderr)
