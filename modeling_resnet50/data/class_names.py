"""ImageNet's classes in words, and names of classes on a terminal."""

import re
from collections import Counter

from timm.data import ImageNetInfo


JOINERS = "\u200c\u200d"  # invisible, but part of words in Persian and of emoji


def printable(name: str) -> str:
    """A name on one line of a terminal: line breaks and whatever else would not be seen are escaped, as `\\n`."""
    return "".join(
        letter if letter.isprintable() or letter in JOINERS else letter.encode("unicode_escape").decode()
        for letter in name
    )


def is_wnid(name: str) -> bool:
    """Whether a name is a WordNet id as ImageNet uses them: `n01440764`."""
    return re.fullmatch(r"n\d{8}", name) is not None


def names_in_words(names: list[str]) -> list[str]:
    """Class names as they are, or in words if all of them are WordNet ids."""
    return imagenet_words(names) if all(map(is_wnid, names)) else names


def imagenet_words(wnids: list[str]) -> list[str]:
    """
    The words for each WordNet id, as in ImageNet's own lists: `tench, Tinca tinca`.

    Words that two of the classes share get the id behind them: ImageNet has two cranes, the bird and the machine. An
    id that ImageNet never had stays as it is.
    """
    words_of = ImageNetInfo()
    words = []
    for wnid in wnids:
        try:
            words.append(words_of.label_name_to_description(wnid))
        except KeyError:
            words.append(wnid)
    counts = Counter(words)
    return [f"{word} ({wnid})" if counts[word] > 1 else word for word, wnid in zip(words, wnids)]
