"""Names of classes, and ImageNet's in words."""

import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

from .file_names import composed


if TYPE_CHECKING:
    from timm.data import ImageNetInfo


@cache
def _imagenet() -> "ImageNetInfo":
    from timm.data import ImageNetInfo  # for those who ask for ImageNet's names

    return ImageNetInfo()


def imagenet_wnids() -> list[str]:
    """The WordNet ids of ImageNet-1K's classes, in the order that everyone uses: sorted."""
    return list(_imagenet().label_names())


@cache
def imagenet_names() -> frozenset[str]:
    """ImageNet-1K's classes in words."""
    return frozenset(imagenet_words(imagenet_wnids()))


def is_wnid(name: str) -> bool:
    """Whether a name is a WordNet id as ImageNet uses them: `n01440764`."""
    return re.fullmatch(r"n\d{8}", name) is not None


def names_in_words(names: list[str]) -> list[str]:
    """Class names as they are, in Unicode's normal form C; or in words if all of them are WordNet ids."""
    if all(map(is_wnid, names)):
        return imagenet_words(names)
    alike = list(map(composed, names))
    return alike if len(set(alike)) == len(names) else names


def imagenet_words(wnids: list[str]) -> list[str]:
    """
    The words for each WordNet id, as in ImageNet's own lists: `tench, Tinca tinca`.

    Words that two of the classes share get the id behind them: ImageNet has two cranes, the bird and the machine. An
    id that ImageNet never had stays as it is.
    """
    words_of = _imagenet()
    words = []
    for wnid in wnids:
        try:
            words.append(words_of.label_name_to_description(wnid))
        except KeyError:
            words.append(wnid)
    return told_apart(words, wnids)


def told_apart(names: list[str], codes: list[str]) -> list[str]:
    """Names of classes, with the code behind those that several have."""
    counts = Counter(names)
    return [f"{name} ({code})" if counts[name] > 1 else name for name, code in zip(names, codes)]


def names_of(model: Any) -> list[str]:
    """Of the classes of a model, ours or transformers', in their order."""
    return [model.config.id2label[index] for index in range(model.config.num_labels)]
