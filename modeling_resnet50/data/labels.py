"""Columns of labels: as classes with names, also where nobody has named them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Features

from resnet50_recipe.errors import UserError
from resnet50_recipe.words import counted

from .file_names import composed


ONE_CLASS_EACH = "an image has one class here, and several labels of an image (multi-label) are left out"


def require_one_order(schemas: Iterable[tuple[str, pa.Schema]]) -> None:
    """
    `datasets` takes the names of the classes from the first file of a split, and numbers from all of them.

    Args:
        schemas: of the files of one split, each with its name.

    Raises:
        UserError: two files number their classes differently.
    """
    first: tuple[str, dict[str, list[str]]] | None = None
    for name, schema in schemas:
        if b"huggingface" not in (schema.metadata or {}):
            continue
        features = Features.from_arrow_schema(schema).items()
        orders = {column: feature.names for column, feature in features if isinstance(feature, ClassLabel)}
        first = first or (name, orders)
        for column in orders.keys() & first[1].keys():
            if orders[column] != first[1][column]:
                raise UserError(
                    f"{name} numbers the classes of {column!r} otherwise than {first[0]}, whose names would stand for "
                    "both: write all files of a split with the same ClassLabel"
                )


@dataclass(frozen=True)
class ClassValues:
    """
    The classes of a column that has numbers or words, and no list of classes: its distinct values, sorted.

    Attributes:
        number_of: the class of each value. Words that differ in Unicode's form only are one class.
        names: of the classes: the numbers in digits, or the words.
    """

    number_of: dict[Any, int]
    names: list[str]

    def covers(self, other: "ClassValues") -> bool:
        """Whether all classes of another column are among these."""
        return other.number_of.keys() <= self.number_of.keys()

    def classes_of(self, column: pa.ChunkedArray) -> np.ndarray:
        """The class of each row, int64 `(rows,)`; -1 for a value that has none."""
        values = pc.unique(column)
        numbers = np.array([self.number_of.get(_key(value), -1) for value in values.to_pylist()], dtype=np.int64)
        return numbers[pc.index_in(column, value_set=values).to_numpy()]


def class_values(columns: Iterable[tuple[str, pa.ChunkedArray]]) -> ClassValues:
    """
    The classes of one or several columns, from all that occurs in them.

    Args:
        columns: what to call each in errors, and its values.

    Raises:
        UserError: one holds neither integers nor words, or rows without a value.
    """
    found: set[Any] = set()
    for name, column in columns:
        kind = column.type
        if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or _is_text(kind)):
            several = pa.types.is_nested(kind)  # a list of classes, or a struct of marks
            more = f": {ONE_CLASS_EACH}" if several else ""
            raise UserError(f"{name} must hold class numbers or names, not {kind}{more}")
        missing = pc.is_null(column)
        if _is_text(kind):
            missing = pc.or_(missing, pc.equal(pc.utf8_trim_whitespace(column), "").fill_null(False))
        refuse_missing(name, missing.to_numpy())
        values = pc.unique(column).to_pylist()
        if values != [-1]:  # a split without labels
            found.update(map(_key, values))
    if not found:
        refuse_missing(name, np.ones(len(column), dtype=bool))
    if -1 in found and 0 in found:  # says that there is no class
        found.remove(-1)
    values = sorted(found)
    return ClassValues({value: number for number, value in enumerate(values)}, [str(value) for value in values])


def refuse_missing(name: str, missing: np.ndarray) -> None:
    """
    Args:
        name: of what the labels are from.
        missing: bool `(rows,)`, whether a row has no label.

    Raises:
        UserError: one has none.
    """
    if missing.any():
        raise UserError(
            f"{name}: {counted(missing.sum(), 'image has', 'images have')} no label, first "
            f"row {int(missing.argmax())} (null, empty, or -1 as in ImageNet's test split)"
        )


def _key(value: Any) -> Any:
    return composed(value) if isinstance(value, str) else value


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
