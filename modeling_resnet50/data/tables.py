"""
Labels that are not folders: tables of files and their classes, and lists of the files of each split.

Read line by line rather than by `datasets`, whose errors name no line, and whose CSV reader (pandas) takes a class
called `None` or `NA` for a missing one and `007` for 7.
"""

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

from datasets import Dataset, DatasetDict

from resnet50_recipe.errors import UserError
from resnet50_recipe.words import counted

from .file_names import as_utf8, composed, path_as_text
from .folders import SPLITS, VALIDATION_NAMES, labelled_files
from .image_files import find_images, holds_images, subfolders
from .labels import ONE_CLASS_EACH
from .notes import Note, say_note


TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".txt")

_METADATA = ("metadata.csv", "metadata.jsonl")
_FILE_COLUMNS = ("file_name", "filename", "file", "image", "image_path", "file_path", "filepath", "path")
_LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target")
_SPLIT_COLUMN = "split"
_ORDER = ("train", *VALIDATION_NAMES)
_SHOWN = 5  # lines in a message


class Columns(NamedTuple):
    """Names of a table's columns. None: found by the usual names."""

    image: str | None = None
    label: str | None = None


USUAL_COLUMNS = Columns()


@dataclass(frozen=True)
class Row:
    """
    Attributes:
        path: of the file; None: there is none by the name that the table has.
        name: of the file, as the table has it.
        label: None: there is none.
        split: None: the table does not say.
    """

    table: Path
    line: int
    path: str | None
    name: str
    label: str | None
    split: str | None


def is_table(path: Path) -> bool:
    """By its ending."""
    return path.suffix.lower() in TABLE_ENDINGS


def tables_in(root: Path, label_column: str | None = None, note: Note = say_note) -> dict[Path, str | None]:
    """
    The tables that say what the images of a folder are, each with the split it is for; None: it says that itself.

    They are `metadata.csv` or `metadata.jsonl` of the folder or of its split folders; else a table or list for each
    split (`train.csv`, `val.csv`, …), unless the split folders hold class folders. None: the folders are the classes.
    """
    splits = [name for name in subfolders(root) if name.lower() in SPLITS]
    places: list[tuple[Path, str | None]] = [(root, None)]
    if not any((root / name).is_file() for name in _METADATA):
        places = [(root / name, SPLITS[name.lower()]) for name in splits]
    found = {folder / name: split for folder, split in places for name in _METADATA if (folder / name).is_file()}
    unlabelled = [table for table in found if not _has_labels(table, label_column)]
    if unlabelled:
        note(f"{unlabelled[0]} has no column of labels: the folders are the classes")
        found = {}
    without = [
        name for name in splits if found and None not in found.values() and SPLITS[name.lower()] not in found.values()
    ]
    if without:
        note(f"{root / without[0]}: left out: it has no metadata, unlike the other splits")
    if not found and not any(holds_images(root / s / name) for s in splits for name in subfolders(root / s)):
        found = next(
            (tables for ending in TABLE_ENDINGS if "train" in (tables := _by_split(root, ending)).values()), {}
        )
    if found:
        note(f"{root}: the classes are those of {' and '.join(table.relative_to(root).as_posix() for table in found)}")
    return found


def tables_beside(table: Path) -> dict[Path, str | None]:
    """A table alone; or if it is called as a split is, with those of the other splits, as `tables_in` gives them."""
    if table.stem.lower() not in SPLITS:
        return {table: None}
    return {table: SPLITS[table.stem.lower()]} | _by_split(table.parent, table.suffix)


def read_tables(
    tables: dict[Path, str | None], columns: Columns = USUAL_COLUMNS, note: Note = say_note
) -> DatasetDict:
    """
    The files of these tables with their classes, which are the distinct labels of the training split, sorted; numbers
    by their value. Columns are called as they are in the table if `columns` names them, else `image` and `label`.

    A file's name is relative to its table's folder, or to the folder beside it that is called like the table. In a
    list, which has a file in each line, the class is what follows the name, or the name of the file's folder.

    Args:
        tables: with the split each is for; None: it has a column `split`, or its files lie in folders of splits, or
            all are for training.
        columns: of a table, not of a list.
        note: is told of what is left out.

    Raises:
        UserError: a file or a label is missing, a file is named twice, or a label is none of training: with its line.
    """
    rows = [row for table, split in tables.items() for row in _rows(table, split, columns)]
    if not rows:
        raise UserError(f"{next(iter(tables))} has no rows")
    for table in tables:
        if table.name in _METADATA:
            _say_what_has_no_row(table, rows, note)
    if {"-1", "0"} <= {row.label for row in rows}:  # says that there is no class, as in columns of parquet files
        rows = [replace(row, label=None) if row.label == "-1" else row for row in rows]
    rows = _without_unlabelled_test(_as_split(rows, note), note)
    _refuse(rows, lambda row: row.path is None, "not there", "paths are taken from the table's folder")
    _refuse(rows, lambda row: row.label is None, "without a label", "they are read from the column label")
    rows = _each_once(rows, note)
    _refuse_several_labels(rows)
    classes = _classes(rows, note)
    number_of = {name: number for number, name in enumerate(classes)}
    found = {}
    for split in sorted({row.split or "train" for row in rows}, key=_ORDER.index):
        here = [row for row in rows if row.split == split]
        paths, labels = [row.path or "" for row in here], [number_of[row.label or ""] for row in here]
        found[split] = _named(labelled_files(paths, labels, classes), columns)
    return DatasetDict(found)


def _by_split(folder: Path, ending: str) -> dict[Path, str | None]:
    """Tables and lists that are called as splits are, those of training first."""
    found: dict[Path, str | None] = {}
    for path in sorted(folder.iterdir()):
        split = SPLITS.get(path.stem.lower())
        if split is not None and path.suffix == ending and path.is_file():
            if split in found.values():
                raise UserError(f"{folder} has two tables for the split {split!r}, one is {path.name}: keep one")
            found[path] = split
    return dict(sorted(found.items(), key=lambda item: _ORDER.index(item[1] or "train")))


def _named(dataset: Dataset, columns: Columns) -> Dataset:
    wanted = {"image": columns.image or "image", "label": columns.label or "label"}
    return dataset.rename_columns({old: new for old, new in wanted.items() if old != new})


# Lines of a file


def _rows(table: Path, split: str | None, columns: Columns) -> Iterator[Row]:
    if table.suffix.lower() == ".txt":
        yield from _listed(table, split)
        return
    names: tuple[str, str | None, str | None] | None = None
    for line, cells in _cells(table):
        names = names or _column_names(table, list(cells), columns)
        file, label, own_split = (None if name is None else cells.get(name) for name in names)
        if not isinstance(file, str) or not file.strip():
            raise UserError(f"{table}, line {line}: no name of a file in column {names[0]!r}")
        yield Row(
            table,
            line,
            _existing(table, file.strip()),
            file.strip(),
            _label(table, line, label),
            split if names[2] is None else _split_by_name(table, line, own_split),
        )


def _listed(table: Path, split: str | None) -> Iterator[Row]:
    for line, text in enumerate(_text(table).split("\n"), 1):
        text = text.strip()
        name, label, path = text, None, _existing(table, text)
        if path is None and len(parts := text.rsplit(maxsplit=1)) == 2:
            (name, label), path = parts, _existing(table, parts[0])
        if label is None and path is not None:
            label = os.path.basename(os.path.dirname(os.path.abspath(path)))
        if text:
            yield Row(table, line, path, name, _label(table, line, label), split)


def _cells(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a table by column, each with its line."""
    text = _text(table)
    if table.suffix.lower() == ".jsonl":
        for line, row in enumerate(text.split("\n"), 1):
            if row.strip():
                yield line, _json_object(table, line, row)
        return
    first = text.partition("\n")[0]
    delimiter = "\t" if table.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    last = 1
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        _refuse_repeated(f"{table}: column", reader.fieldnames or [])
        for cells in reader:
            if None in cells or None in cells.values():
                raise UserError(f"{table}, line {reader.line_num}: not as many fields as the first line names")
            last = reader.line_num
            yield last, cells
    except csv.Error as error:  # a quotation mark that nothing closes goes on to the end of the file
        raise UserError(f"{table}, line {last + 1}: {error}") from error


def _refuse_repeated(what: str, names: Sequence[str]) -> None:
    """Of two of the same name, one would be read."""
    for name, times in Counter(names).items():
        if times > 1:
            raise UserError(f"{what} {name!r} is there {times} times: keep one")


def _json_object(table: Path, line: int, text: str) -> dict[str, Any]:
    def with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_repeated(f"{table}, line {line}: key", [name for name, _ in pairs])
        return dict(pairs)

    try:
        row = json.loads(text, object_pairs_hook=with_each_key_once)
    except json.JSONDecodeError as error:
        raise UserError(f"{table}, line {line}: not JSON ({error.msg}); each line is an object of its own") from error
    if not isinstance(row, dict):
        raise UserError(f'{table}, line {line}: not a JSON object, such as {{"file_name": …, "label": …}}')
    return row


def _text(table: Path) -> str:
    try:
        data = table.read_bytes()
        return data.decode("utf-8-sig")  # Excel begins with a mark
    except OSError as error:
        raise UserError(f"cannot read {table}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{table}, line {line}: not UTF-8. Save the table as CSV UTF-8") from error


def _existing(table: Path, name: str) -> str | None:
    """The file that a table means, also if it was written on Windows, or on a Mac."""
    for base in (table.parent, table.with_suffix("")):
        for text in (name, name.replace("\\", "/")):
            for form in (text, normalize("NFC", text), normalize("NFD", text)):
                if os.path.isfile(path := os.path.join(base, form)):
                    return path
    return None


# Columns and values


def _has_labels(table: Path, label_column: str | None) -> bool:
    _, cells = next(_cells(table), (0, {}))
    return label_column in cells or any(name.strip().lower() in _LABEL_COLUMNS for name in cells)


def _column_names(table: Path, there: list[str], wanted: Columns) -> tuple[str, str | None, str | None]:
    """Of the files, the labels (None: the table has none) and the splits (likewise)."""
    for name in wanted:
        if name is not None and name not in there:
            raise UserError(f"{table} has no column {name!r}; it has: {', '.join(there)}")
    usual = {name: name.strip().lower() for name in there}
    splits = [name for name in there if usual[name] == _SPLIT_COLUMN]
    files = [wanted.image] if wanted.image else [name for name in there if usual[name] in _FILE_COLUMNS]
    files = [name for name in files if usual[name] == "file_name"] or files  # as `datasets` calls it
    labels = [wanted.label] if wanted.label else [name for name in there if usual[name] in _LABEL_COLUMNS]
    if len(files) != 1:
        raise UserError(
            f"{table}: {len(files)} columns of files among {', '.join(there)}: call it file_name, or name one with "
            "--image_column_name. The first line of a CSV names its columns"
        )
    if len(labels) > 1:
        raise UserError(
            f"{table}: {len(labels)} columns of labels, {', '.join(labels)}: choose by --label_column_name"
        )
    return files[0], labels[0] if labels else None, splits[0] if splits else None


def _label(table: Path, line: int, value: Any) -> str | None:
    if isinstance(value, str):
        return composed(value.strip()) or None
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return None if value is None else str(value)
    more = f": {ONE_CLASS_EACH}" if isinstance(value, list | dict) else ""
    raise UserError(
        f"{table}, line {line}: the label must be the name or number of one class, not {json.dumps(value)}{more}"
    )


def _split_by_name(table: Path, line: int, value: Any) -> str:
    split = SPLITS.get(str(value).strip().lower())
    if split is None:
        raise UserError(f"{table}, line {line}: {value!r} is no split; splits are: {', '.join(SPLITS)}")
    return split


# What the rows say together


def _refuse(rows: Iterable[Row], wrong: Callable[[Row], bool], what: str, remedy: str = "") -> None:
    found = [row for row in rows if wrong(row)]
    if found:
        files = counted(len(found), "file", "files")
        first, more = _in_words(found), f" ({remedy})" if remedy else ""
        raise UserError(f"{files} {what}, {first}: {as_utf8(found[0].name)}{more}")


def _in_words(rows: list[Row]) -> str:
    """`labels.csv, lines 2, 3 and 7 more`"""
    lines = ", ".join(f"{row.line:,}" for row in rows[:_SHOWN])
    more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
    return f"{rows[0].table}, {'line' if len(rows) == 1 else 'lines'} {lines}{more}"


def _without_unlabelled_test(rows: list[Row], note: Note) -> list[Row]:
    """Contests give the test split's files without their labels."""
    test = [row for row in rows if row.split == "test"]
    if not test or len(test) == len(rows) or any(row.label is not None for row in test):
        return rows
    note(f"{test[0].table}: left out: the split 'test', which has no labels")
    return [row for row in rows if row.split != "test"]


def _as_split(rows: list[Row], note: Note) -> list[Row]:
    """Rows that no table assigns to a split go by their files' outermost folders, if all of those are called so."""
    open_rows = [row for row in rows if row.split is None]
    folders = {_outermost(row.name) for row in open_rows}
    by_folder = all(name.lower() in SPLITS for name in folders)
    if open_rows and by_folder:
        note(f"{open_rows[0].table}: the splits are the folders {', '.join(sorted(folders))}")
    return [
        row if row.split else replace(row, split=SPLITS[_outermost(row.name).lower()] if by_folder else "train")
        for row in rows
    ]


def _outermost(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./").partition("/")[0]


def _each_once(rows: list[Row], note: Note) -> list[Row]:
    first: dict[str, Row] = {}
    doubled = []
    for row in rows:
        before = first.setdefault(os.path.abspath(row.path or ""), row)
        if before is row:
            continue
        if (before.label, before.split) != (row.label, row.split):
            raise UserError(
                f"{as_utf8(row.name)} is {before.label!r} in {before.split} ({before.table.name}, line {before.line}) "
                f"and {row.label!r} in {row.split} ({row.table.name}, line {row.line}): keep one row"
            )
        doubled.append(row)
    if doubled:
        repeat = counted(len(doubled), "row repeats another one and counts", "rows repeat another one and count")
        note(f"{repeat} once: {_in_words(doubled)}")
    return list(first.values())


def _refuse_several_labels(rows: list[Row]) -> None:
    """
    `cat;dog`, where `cat` and `dog` are labels too, by themselves or in others of the kind, is two labels. (Names with
    a comma, as ImageNet's have, do not consist of others' parts.)
    """
    parts_of = {row.label: _parts(row.label or "") for row in rows}
    known = Counter(part for parts in parts_of.values() for part in parts)
    several = {label for label, parts in parts_of.items() if len(parts) > 1 and all(known[part] > 1 for part in parts)}
    first = next((row for row in rows if row.label in several), None)
    if first is not None:
        raise UserError(
            f"{first.table}, line {first.line}: {first.label!r} is several labels, which others have too: "
            f"{ONE_CLASS_EACH}. If it is one class, join its parts by another sign"
        )


def _parts(label: str) -> list[str]:
    return sorted({part.strip() for part in re.split(r"[;,|]", label) if part.strip()})


def _classes(rows: list[Row], note: Note) -> list[str]:
    """The distinct labels of training, sorted; by value where all are whole numbers."""
    splits = {row.split for row in rows}
    train = [row for row in rows if row.split == "train" or "train" not in splits]
    counts = Counter(row.label for row in train)
    _refuse(
        rows,
        lambda row: row.label not in counts,
        "with a label that no training image has",
        f"training has: {', '.join(map(str, list(counts)[:_SHOWN]))}{', …' if len(counts) > _SHOWN else ''}",
    )
    names = [label for label in counts if label is not None]
    folded = Counter(map(str.casefold, names))
    alike = sorted((name for name in names if folded[name.casefold()] > 1), key=lambda name: (counts[name], name))
    if alike:
        rarest = next(row for row in train if row.label == alike[0])
        note(
            f"{', '.join(map(repr, alike))} differ in case only, and are classes of their own: {rarest.table}, line "
            f"{rarest.line}"
        )
    numeric = all(re.fullmatch(r"-?\d+", name) for name in names)
    return sorted(names, key=lambda name: (int(name) if numeric else 0, name))


def _say_what_has_no_row(table: Path, rows: list[Row], note: Note) -> None:
    named = {os.path.abspath(row.path) for row in rows if row.path}
    others = [path for path in find_images(table.parent).paths if os.path.abspath(path) not in named]
    if others:
        images = counted(len(others), "image")
        note(f"{table.parent}: left out: {images} that {table.name} does not name, first {path_as_text(others[0])}")
