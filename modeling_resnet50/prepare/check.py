"""Proof that a data set is whole and right: every image is decoded, every label held against what else is known."""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from PIL import Image
from timm.data import RealLabelsImagenet
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from resnet50_recipe.words import counted

from ..data.class_counts import counts_in_words
from ..data.class_names import imagenet_names, imagenet_wnids, imagenet_words
from ..data.decoding import UNREADABLE, decode_with_warning, encoded_bytes, stored_path
from ..data.folders import VALIDATION_NAMES, standard_split_name
from ..data.notes import Note, say_note
from ..data.sources import images_and_labels, load_splits
from ..data.tables import USUAL_COLUMNS, Columns
from .processes import in_order


_BATCH = 100
_WNID = re.compile(r"n(\d{8})")
_VALIDATION_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})")
# ReaL (Beyer et al., 2020, "Are we done with ImageNet?") agrees with about 90 % of the validation labels, and with
# 0.1 % of labels by chance.
_LEAST_REAL_AGREEMENT = 0.85


@dataclass(frozen=True)
class Expected:
    """
    What a data set has to be.

    Args:
        name: for the verdict.
        images: of each split; "validation" also stands for `val` and `valid`.
        classes: how many; None: any number.
        per_class: the least and the most of one class, for each split.
        imagenet: the classes are those of ImageNet-1K, in the order of their sorted WordNet ids.
        odd: how many files of each odd kind the original has.
    """

    name: str
    images: dict[str, int] = field(default_factory=dict)
    classes: int | None = None
    per_class: dict[str, tuple[int, int]] = field(default_factory=dict)
    imagenet: bool = False
    odd: dict[str, int] = field(default_factory=dict)


_ANYTHING = Expected("a data set")
_IMAGENET_1K = Expected(
    name="ImageNet-1K",
    images={"train": 1_281_167, "validation": 50_000},
    classes=1000,
    per_class={"train": (732, 1300), "validation": (50, 50)},
    imagenet=True,
    odd={"JPEG in CMYK": 22, "PNG named .JPEG": 1},
)
_TINY_IMAGENET = Expected(
    name="Tiny-ImageNet",
    images={"train": 100_000, "validation": 10_000},
    classes=200,
    per_class={"train": (500, 500), "validation": (50, 50)},
)
EXPECTATIONS = {"auto": None, "imagenet1k": _IMAGENET_1K, "tiny-imagenet": _TINY_IMAGENET, "nothing": _ANYTHING}


@dataclass
class SplitTable:
    """
    What was seen of one split: a row for each image, in the data set's order.

    Attributes:
        labels: int64; -1: none.
        widths, heights: pixels, upright; 0 where unreadable.
        sizes: bytes.
        wnids: the number of a WordNet id in the file's name; -1: none.
        numbers: of ImageNet's validation image, by the file's name; -1: none.
        digests: of the bytes, uint64.
        odd: how many files of which odd kind.
        unreadable: what was wrong with each.
        suspicious: what libjpeg remarked on each JPEG that can be read, though perhaps with wrong pixels, by its row.
        moments: float64 `(images, 2, 3)`, means of each channel and of its squares, as shares of white; NaN where
            unreadable. None: not asked for.
    """

    name: str
    class_names: list[str]
    labels: np.ndarray
    widths: np.ndarray
    heights: np.ndarray
    sizes: np.ndarray
    wnids: np.ndarray
    numbers: np.ndarray
    digests: np.ndarray
    odd: Counter
    unreadable: list[str]
    suspicious: dict[int, str] = field(default_factory=dict)
    moments: np.ndarray | None = None

    @property
    def per_class(self) -> np.ndarray:
        """Images of each class, int64, `(classes,)`."""
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.class_names))


@dataclass
class CheckResult:
    """
    Attributes:
        problems: what makes the data set another one than expected, or unfit; none if it is right.
        notes: what its users may want to know.
        verdict: all in one line.
        image_mean, image_std: of the training images' channels, each image weighing alike. None: not asked for.
    """

    splits: DatasetDict
    tables: list[SplitTable]
    problems: list[str]
    notes: list[str]
    verdict: str
    image_mean: list[float] | None = None
    image_std: list[float] | None = None


def check_folder(
    source: Path,
    *,
    columns: Columns = USUAL_COLUMNS,
    expected: Expected | None = None,
    num_proc: int = 1,
    statistics: bool = False,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> CheckResult:
    """
    Decode every image of a data set, and hold classes, counts and labels against what they should be.

    Args:
        source: in any layout that training takes.
        columns: of it.
        expected: what it has to be. None: ImageNet-1K if most of its classes are there, otherwise anything.
        num_proc: processes that decode.
        statistics: also work out `image_mean` and `image_std`.
        on_progress: called with images done and to do.

    Raises:
        UserError: no data set there at all.
    """
    said: list[str] = []

    def note(text: str) -> None:
        said.append(text)
        say_note(text)

    splits = images_and_labels(load_splits(str(source), note=note, columns=columns), columns)
    tables, total, done = [], sum(map(len, splits.values())), 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        on_progress(done, total)

    for name, split in splits.items():
        tables.append(inspect(name, split, num_proc, count, statistics))
        _say_copies(tables[-1], split, note)
    expected = expected or _guess(tables)
    if not {*VALIDATION_NAMES, *expected.images} & {*splits}:
        note("there is no validation split: train, and evaluate, with --train_val_split 0.1")
    problems, notes = judge(tables, expected)
    images = " + ".join(f"{len(table.labels):,} {table.name}" for table in tables)
    summary = f"{counted(len(tables[0].class_names), 'class')}, {images} images"
    if problems:
        verdict = f"{counted(len(problems), 'problem')}: {summary}."
    else:
        verdict = f"{expected.name[0].upper()}{expected.name[1:]}, whole and right: {summary}, every one decoded."
    return CheckResult(splits, tables, problems, said + notes, verdict, *_mean_and_std(tables[0].moments))


def _say_copies(table: SplitTable, split: Dataset, note: Note) -> None:
    """Of files that are equal, byte for byte, within a split."""
    _, first, group = np.unique(table.digests, return_index=True, return_inverse=True)
    originals = first[group]
    copies = np.flatnonzero((originals != np.arange(len(originals))) & (table.widths > 0))
    if not len(copies):
        return
    differ = copies[table.labels[copies] != table.labels[originals[copies]]]
    copy = differ[0] if len(differ) else copies[0]
    names = [stored_path(split[int(row)]["image"]) or f"row {row}" for row in (copy, originals[copy])]
    labels = f"{len(differ):,} with another label, " if len(differ) else ""
    images = counted(len(copies), "image is", "images are")
    note(
        f"{table.name}: {images}, byte for byte, there more than once, {labels}first "
        f"{names[0]} as {names[1]}: of such a pair, --train_val_split may hold one out to judge what learned the other"
    )


def _mean_and_std(moments: np.ndarray | None) -> tuple[list[float] | None, list[float] | None]:
    if moments is None:
        return None, None
    mean, mean_square = np.nanmean(moments, axis=0)
    return np.round(mean, 4).tolist(), np.round(np.sqrt(np.maximum(mean_square - mean**2, 0)), 4).tolist()


def inspect(
    name: str, split: Dataset, num_proc: int, count: Callable[[int], None], statistics: bool = False
) -> SplitTable:
    """Look at each image of a split."""
    rows: list[dict[str, Any]] = []
    for batch in in_order(_Inspected(split, statistics), num_proc):
        rows += batch
        count(len(batch))
    columns = {key: np.array([row[key] for row in rows]) for key in ("widths", "heights", "sizes", "wnids", "numbers")}
    return SplitTable(
        name=name,
        class_names=split.features["label"].names,
        labels=np.asarray(split["label"][:], dtype=np.int64),
        digests=np.array([row["digest"] for row in rows], dtype=np.uint64),
        odd=Counter(row["odd"] for row in rows if row["odd"]),
        unreadable=[row["error"] for row in rows if row["error"]],
        suspicious={number: row["warning"] for number, row in enumerate(rows) if row["warning"]},
        moments=np.array([row["moments"] for row in rows]) if statistics else None,
        **columns,
    )


class _Inspected(TorchDataset):
    """Batches of rows, seen one by one."""

    def __init__(self, split: Dataset, statistics: bool):
        self.images = split.select_columns("image")
        self.statistics = statistics

    def __len__(self) -> int:
        return -(-len(self.images) // _BATCH)

    def __getitem__(self, number: int) -> list[dict[str, Any]]:
        start = number * _BATCH
        images = self.images[start : start + _BATCH]["image"]
        return [_inspect(image, start + i, self.statistics) for i, image in enumerate(images)]


def _inspect(image: dict[str, Any], row: int, statistics: bool) -> dict[str, Any]:
    path = stored_path(image)
    name = PurePath(path or "").name
    wnid, number = _WNID.search(name), _VALIDATION_NUMBER.match(name)
    seen: dict[str, Any] = {
        "wnids": int(wnid[1]) if wnid else -1,
        "numbers": int(number[1]) if number else -1,
        "widths": 0, "heights": 0, "sizes": 0, "digest": 0, "odd": None, "error": None, "warning": None,
        "moments": np.full((2, 3), np.nan),
    }  # fmt: skip
    try:
        data = encoded_bytes(image)
        seen["sizes"] = len(data)
        seen["digest"] = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
        pixels, warning = decode_with_warning(data)
        _, seen["heights"], seen["widths"] = pixels.shape
        if statistics:
            seen["moments"] = _moments(pixels)
        seen["warning"] = warning and f"{path or f'row {row}'}: {warning}"
        seen["odd"] = _odd_kind(data, name)
    except UNREADABLE as error:
        seen["error"] = f"{path or f'row {row}'}: {error}"
    return seen


def _moments(pixels: Tensor) -> np.ndarray:
    """Means of the channels of a uint8 image, and of their squares, as shares of white: float64 `(2, channels)`."""
    levels = np.arange(256) / 255
    shares = [np.bincount(channel.numpy().ravel(), minlength=256) / channel.numel() for channel in pixels]
    return np.array([[share @ levels for share in shares], [share @ levels**2 for share in shares]])


def _odd_kind(data: bytes, name: str) -> str | None:
    """What surprises programs that go by the name, or expect three colours."""
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG in CMYK" if b"Adobe" in data and Image.open(io.BytesIO(data)).mode == "CMYK" else None
    suffix = PurePath(name).suffix
    return f"{Image.open(io.BytesIO(data)).format} named {suffix}" if suffix.lower() in (".jpg", ".jpeg") else None


def _other_classes(first: SplitTable, other: SplitTable) -> Iterator[str]:
    for has, lacks in ((first, other), (other, first)):
        known = set(lacks.class_names)
        missing = [name for name in has.class_names if name not in known]
        if missing:
            classes = counted(len(missing), "class", "classes")
            yield f"{lacks.name}: lacks {classes} of {has.name}, first {missing[0]!r}"
    if first.class_names != other.class_names and set(first.class_names) == set(other.class_names):
        yield f"{first.name} and {other.name} list the same classes in a different order"


def judge(tables: list[SplitTable], expected: Expected) -> tuple[list[str], list[str]]:
    """
    Returns:
        Problems and notes, as in `CheckResult`.
    """
    problems = [problem for table in tables for problem in _split_problems(table, expected)]
    by_name = {standard_split_name(table.name): table for table in tables}
    problems += [f"there is no {name} split" for name in expected.images if name not in by_name]
    if len(tables[0].class_names) == 1:
        problems.append(
            f"there is one class only, {tables[0].class_names[0]!r}: put the images of each class into a folder of "
            "its own"
        )
    problems += [problem for table in tables[1:] for problem in _other_classes(tables[0], table)]
    notes = [note for table in tables for note in _split_notes(table)]
    odd = sum((table.odd for table in tables), Counter())
    for kind in sorted({*odd, *expected.odd}):
        known = f" ({expected.name} has {expected.odd[kind]})" if kind in expected.odd else ""
        notes.append(f"{kind}: {odd[kind]}{known}")
    if {"train", "validation"} <= set(by_name):
        leaked = np.isin(by_name["validation"].digests, by_name["train"].digests).sum()
        if leaked:
            notes.append(
                f"{counted(leaked, 'validation image is', 'validation images are')}, byte for byte, also for training"
            )
    return problems, notes


def _split_problems(table: SplitTable, expected: Expected) -> list[str]:
    problems = []
    name, names = standard_split_name(table.name), table.class_names

    def unless(right: bool, problem: str) -> None:
        if not right:
            problems.append(f"{table.name}: {problem}")

    if table.unreadable:
        unless(False, f"{counted(len(table.unreadable), 'unreadable image')}, first {table.unreadable[0]}")
    unlabelled = int((table.labels < 0).sum())
    unless(not unlabelled, f"{counted(unlabelled, 'image has', 'images have')} no label")
    if expected.classes is not None:
        unless(len(names) == expected.classes, f"{counted(len(names), 'class')} instead of {expected.classes:,}")
    if name in expected.images:
        total = expected.images[name]
        unless(len(table.labels) == total, f"{counted(len(table.labels), 'image')} instead of {total:,}")
    least, most = expected.per_class.get(name, (1, None))
    for wrong, bound in ((table.per_class < least, f"at least {least}"), (table.per_class > (most or 1e9), most)):
        if wrong.any():
            first = int(wrong.argmax())
            unless(
                False,
                f"{counted(wrong.sum(), 'class')} with another number of images than there should be, first "
                f"{names[first]!r} with {table.per_class[first]:,} instead of {bound}",
            )
    if expected.imagenet:
        problems += [f"{table.name}: {problem}" for problem in _imagenet_problems(table)]
    problems += [f"{table.name}: {problem}" for problem in _label_problems(table)]
    return problems


def _imagenet_problems(table: SplitTable) -> list[str]:
    wnids = imagenet_wnids()
    words = [name.split(",")[0].lower() for name in imagenet_words(wnids)]
    problems = []
    for label, name in enumerate(table.class_names[: len(wnids)]):
        # By id, or in words, which differ in details from place to place.
        if name != wnids[label] and words[label].split(" (")[0] not in name.lower():
            problems.append(
                f"class {label} is {name!r} instead of {wnids[label]} ({words[label]}): the classes are not in the "
                "order of the sorted WordNet ids"
            )
            break
    numbered = (table.numbers > 0) & (table.labels >= 0)
    if numbered.any():
        real = list(RealLabelsImagenet([""] * 50_000).real_labels.values())
        judged = [
            label in real[number - 1]
            for number, label in zip(table.numbers[numbered], table.labels[numbered])
            if number <= len(real) and real[number - 1]
        ]
        if judged and np.mean(judged) < _LEAST_REAL_AGREEMENT:
            problems.append(
                f"only {np.mean(judged):.1%} of the labels are among those that the ReaL study gave the same images "
                "(true labels: 90 %): they belong to other images"
            )
    return problems


def _label_problems(table: SplitTable) -> list[str]:
    """Labels against the files' names, whatever the data set."""
    problems = []
    known = (table.wnids >= 0) & (table.labels >= 0)
    if known.any():
        wnids, labels = table.wnids[known], table.labels[known]
        named = [_WNID.fullmatch(name) for name in table.class_names]
        ids = np.array([int(match[1]) for match in named if match]) if all(named) else np.unique(wnids)
        # Classes that are words come in the order of their sorted ids; that can be seen where all of them are there.
        wrong = ids[labels] != wnids if len(ids) == len(named) else np.zeros(0)
        if wrong.any():
            problems.append(
                f"{counted(wrong.sum(), 'image has', 'images have')} another class than the WordNet id in the file's "
                "name"
            )
    numbered = (table.numbers > 0) & (table.labels >= 0)
    if len(set(table.labels[numbered])) > 1:
        in_order = table.labels[numbered][np.argsort(table.numbers[numbered])]
        if (np.diff(in_order) >= 0).all():
            problems.append(
                "the labels follow the numbers of the files: the images were dealt out to the classes in the order of "
                "their names, so nearly all are wrong. The truth is in the development kit: "
                "resnet50 prepare imagenet1k"
            )
    return problems


def _split_notes(table: SplitTable) -> list[str]:
    notes = []
    if table.suspicious:
        notes.append(
            f"{table.name}: {counted(len(table.suspicious), 'suspicious JPEG')}, to be read, though "
            f"perhaps with wrong pixels: the report shows them. First {next(iter(table.suspicious.values()))}"
        )
    if table.per_class.any():
        notes.append(f"{table.name}: {counts_in_words(table.per_class, table.class_names)}")
    sides = np.minimum(table.widths, table.heights)[table.widths > 0]
    if len(sides):
        notes.append(
            f"{table.name}: short side {sides.min()} to {sides.max()} pixels, median {np.median(sides):.0f}; "
            f"{table.sizes.mean() / 1000:.1f} kB an image"
        )
    return notes


def _guess(tables: list[SplitTable]) -> Expected:
    known = imagenet_names().union(imagenet_wnids())
    return _IMAGENET_1K if len(known & set(tables[0].class_names)) > 500 else _ANYTHING
