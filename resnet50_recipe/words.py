"""Words that what is printed is made of: numbers with their nouns, and commands to paste."""

import shlex


def counted(number: float, noun: str) -> str:
    """`1 class`, `1,000 classes`, `0.5 epochs`."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    if number == 1:
        return f"{shown} {noun}"
    return f"{shown} {noun}{'es' if noun.endswith(('s', 'x', 'ch', 'sh')) else 's'}"


def says_something(k: int, num_labels: int) -> bool:
    """Whether top-k accuracy, of so many classes, can be anything but 1."""
    return num_labels > k


def command(*words: object) -> str:
    """A line that a shell takes as these words, whatever is in them: spaces, accents, quotes."""
    return shlex.join(map(str, words))
