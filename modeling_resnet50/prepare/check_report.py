"""What `resnet50 prepare check` found, as one HTML file to look at."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image

from resnet50_recipe.words import bytes_in_words

from ..data.class_names import names_in_words
from ..data.decoding import decode_image, encoded_bytes
from ..data.folders import VALIDATION_NAMES
from ..web_page import thumbnail, write_page
from .check import CheckResult, SplitTable


_THUMBNAIL = 64  # pixels
_LARGE_THUMBNAIL = 224  # pixels: damage is small
_MOST_SUSPICIOUS = 200
_NARROWEST = 100  # pixels, for a class and its name
_PICTURES = 2000  # in the whole report, about
_MOST_OF_A_CLASS = 8
_BINS = 40


def write_report(result: CheckResult, source: str, path: Path) -> None:
    """
    One self-contained file: the verdict, class balance, sizes, and pictures of every class.

    Args:
        source: what the data set is called there.
        path: the file; one that is there is replaced.
    """
    sheet = _contact_sheet(result)
    write_page(
        path,
        files(__package__).joinpath("check_report.html"),
        source=source,
        verdict=result.verdict,
        problems=result.problems,
        notes=result.notes,
        splits=[_split(table) for table in result.tables],
        suspicious=_suspicious(result),
        classes=sheet,
        has_validation=any(picture["split"] == "validation" for row in sheet for picture in row["pictures"]),
        cell=max(_NARROWEST, (_THUMBNAIL + 4) * max(len(row["pictures"]) for row in sheet)),
    )


def _split(table: SplitTable) -> dict[str, Any]:
    per_class = table.per_class
    sides = np.minimum(table.widths, table.heights)[table.widths > 0]
    counts, edges = np.histogram(sides, _BINS) if len(sides) else (np.zeros(1), np.zeros(2))
    return {
        "name": table.name,
        "images": len(table.labels),
        "classes": len(table.class_names),
        "fewest": int(per_class.min()),
        "most": int(per_class.max()),
        "unreadable": len(table.unreadable),
        "size": bytes_in_words(table.sizes.sum()),
        "balance": _percent(per_class),
        "balance_titles": [f"{name}: {count:,}" for name, count in zip(table.class_names, per_class)],
        "sides": _percent(counts),
        "side_titles": [f"{low:.0f} to {high:.0f}: {n:,.0f}" for low, high, n in zip(edges[:-1], edges[1:], counts)],
        "side_low": int(edges[0]),
        "side_high": int(edges[-1]),
    }


def _percent(values: np.ndarray) -> list[float]:
    return [round(100 * float(value) / max(float(values.max()), 1), 2) for value in values]


def _suspicious(result: CheckResult) -> list[dict[str, str]]:
    """A picture and libjpeg's words for each, up to a number."""
    found = [(table, row) for table in result.tables for row in table.suspicious][:_MOST_SUSPICIOUS]
    return [
        {"data": _thumbnail(result.splits[table.name], row, _LARGE_THUMBNAIL), "what": table.suspicious[row]}
        for table, row in found
    ]


def _contact_sheet(result: CheckResult) -> list[dict[str, Any]]:
    """For each class, some images of the first split, and then one to validate."""
    names = result.tables[0].class_names
    of_class = min(max(_PICTURES // (2 * len(names)), 1), _MOST_OF_A_CLASS)
    words = names_in_words(names)
    sheet: list[dict[str, Any]] = [{"label": label, "name": word, "pictures": []} for label, word in enumerate(words)]
    for table in result.tables:
        is_validation = table.name in VALIDATION_NAMES
        if table is not result.tables[0] and not is_validation:
            continue
        for label, rows in enumerate(_rows_of_classes(table)[: len(sheet)]):
            wanted = min(len(rows), 1 if is_validation else of_class)
            for i in range(wanted):
                data = _thumbnail(result.splits[table.name], int(rows[i * len(rows) // wanted]))
                split = "validation" if is_validation else "train"
                sheet[label]["pictures"].append({"data": data, "split": split})
    return sheet


def _rows_of_classes(table: SplitTable) -> list[np.ndarray]:
    """For each class, the rows of its readable images."""
    rows = np.flatnonzero((table.widths > 0) & (table.labels >= 0))
    rows = rows[np.argsort(table.labels[rows], kind="stable")]
    return np.split(rows, np.searchsorted(table.labels[rows], np.arange(1, len(table.class_names))))


def _thumbnail(split: Dataset, row: int, side: int = _THUMBNAIL) -> str:
    pixels = decode_image(encoded_bytes(split[row]["image"]))
    return thumbnail(Image.fromarray(pixels.permute(1, 2, 0).numpy()), side)
