"""How many images each class has, in words."""

import numpy as np


MUCH = 10  # times as many images in one class as in another: from there on it shows in the results


def counts_in_words(counts: np.ndarray, label_names: list[str]) -> str:
    """
    Images of each class, and whether they differ so much that it matters.

    Args:
        counts: `(classes,)`.
        label_names: of the classes.
    """
    fewest, most = int(counts.argmin()), int(counts.argmax())
    if counts[fewest] == counts[most]:
        return f"{counts[most]:,} images in each class"
    said = (
        f"{counts[fewest]:,} ({label_names[fewest]}) to {counts[most]:,} ({label_names[most]}) images in a class, "
        f"median {np.median(counts):,.0f}"
    )
    if not is_uneven(counts):
        return said
    ratio = f"{counts[most] / counts[fewest]:,.0f} : 1" if counts[fewest] else "some have none"
    return (
        f"{said}. That is uneven, {ratio}: top-1 says little about the rare ones, which sampling or class_weights may "
        "help"
    )


def is_uneven(counts: np.ndarray) -> bool:
    """Whether the largest class has more than ten times the images of the smallest."""
    return bool(counts.max() > MUCH * counts.min())
