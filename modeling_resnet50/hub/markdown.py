"""Text from elsewhere – names of data sets, classes, devices – in Markdown, where it must stay text."""

import re

from ..data.class_names import JOINERS


def one_line(text: str, longest: int = 100) -> str:
    """
    A name as one printable line: blanks for line breaks, � for what is not to be seen (control characters, marks that
    turn the direction of writing, halves of characters), and an end to what is too long.
    """
    visible = "".join(
        " " if character.isspace() else character if character.isprintable() or character in JOINERS else "�"
        for character in text
    )
    line = " ".join(visible.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def code(text: str) -> str:
    """
    A name as inline code, in which nothing is markup: no HTML, no link, no image, no address.

    Not for cells of a table, where `|` divides even code.
    """
    line = one_line(text) or "�"
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    # a blank on either side is taken off again, and keeps backticks of the name from joining the fence
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"
