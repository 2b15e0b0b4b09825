"""
Where images come from. Every source ends as a `datasets.Dataset` with two columns:

- `image`: encoded bytes or the path of a file, not decoded (`Image(decode=False)`),
- `label`: a `ClassLabel`, whose names become the model's `id2label`.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetDict, Image, load_dataset, load_dataset_builder
from datasets.utils.info_utils import is_small_dataset

from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe

from .class_names import names_in_words
from .digits import digits
from .file_names import as_utf8
from .folders import VALIDATION_NAMES, image_folders
from .labels import ClassValues, class_values, refuse_missing, require_one_order
from .notes import Note, say_note
from .opening import cache_for, column_names, errors_named
from .sampling import held_out, sample_rows
from .streaming import StreamedSplit, open_streamed_split
from .tables import TABLE_ENDINGS, USUAL_COLUMNS, Columns, is_table, read_tables, tables_beside, tables_in


HELD_OUT_OF_A_STREAM = "train_val_split cannot hold out a part of a stream: it needs a validation split of its own"


def open_train_and_validation(
    recipe: Recipe, note: Note = say_note
) -> tuple[Dataset, Dataset] | tuple[StreamedSplit, StreamedSplit]:
    """`load_train_and_validation`, or where the recipe streams, `open_streamed_train_and_validation`."""
    return open_streamed_train_and_validation(recipe) if recipe.streaming else load_train_and_validation(recipe, note)


def load_train_and_validation(recipe: Recipe, note: Note = say_note) -> tuple[Dataset, Dataset]:
    """
    The images a recipe trains on and those it is judged by, with the same classes in the same order.

    Args:
        note: as for `load_splits`.

    Raises:
        UserError: the source is missing, out of reach, empty, unlabelled, or its splits disagree about the classes.
    """
    columns = Columns(recipe.image_column_name, recipe.label_column_name)
    splits = load_splits(recipe.dataset_name, recipe.dataset_config_name, note, columns)
    train = _split(splits, recipe.train_split_name or "train", recipe)
    classes = _class_values([train], *columns)
    train = _columns(train, *columns, classes)
    if recipe.train_val_split is not None:
        train, validation = _hold_out(train, recipe.train_val_split, recipe.seed)
    else:
        validation = _split(splits, recipe.validation_split_name or _validation_name(splits, recipe), recipe)
        own = _class_values([validation], *columns)
        validation = _columns(validation, *columns, classes if classes and own and classes.covers(own) else own)
    _check_splits(train, validation)
    return _at_most(train, recipe, "max_train_samples"), _at_most(validation, recipe, "max_eval_samples")


def open_streamed_train_and_validation(recipe: Recipe) -> tuple[StreamedSplit, StreamedSplit]:
    """As `load_train_and_validation`, of parquet shards that stay where they are."""
    if recipe.train_val_split is not None:
        raise UserError(HELD_OUT_OF_A_STREAM)
    columns = (recipe.dataset_config_name, recipe.image_column_name, recipe.label_column_name)
    validation_names = [recipe.validation_split_name] if recipe.validation_split_name else VALIDATION_NAMES
    train = open_streamed_split(recipe.dataset_name, [recipe.train_split_name or "train"], *columns)
    validation = open_streamed_split(recipe.dataset_name, validation_names, *columns)
    if train.classes and validation.classes and train.classes.covers(validation.classes):
        validation = replace(validation, classes=train.classes, label_names=train.label_names)
    _check_splits(train, validation)
    return train.at_most(recipe.max_train_samples, recipe.seed), validation.at_most(
        recipe.max_eval_samples, recipe.seed
    )


def load_evaluation_split(
    dataset_name: str,
    split_name: str | None = None,
    config_name: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    train_val_split: tuple[float, int] | None = None,
) -> Dataset:
    """
    One split to evaluate on: the named one, else the validation split, else the only one there is.

    Args:
        train_val_split: share and seed of a recipe that holds images out: these, of the named split or `train`.

    Raises:
        UserError: as `load_train_and_validation`.
    """
    splits = load_splits(dataset_name, config_name, columns=Columns(image_column, label_column))
    if split_name is None and train_val_split is not None:
        split_name = "train"
    if split_name is None:
        split_name = next((name for name in VALIDATION_NAMES if name in splits), None)
        if split_name is None and len(splits) == 1:
            split_name = next(iter(splits))
            say_note(
                f"{dataset_name} has no validation split: judged by all its images. Those that --train_val_split held "
                "out of training judge if it is given here too"
            )
    if split_name not in splits:
        raise UserError(f"{dataset_name} has no split {split_name or 'validation'!r}; it has: {', '.join(splits)}")
    dataset = _columns(splits[split_name], image_column, label_column)
    return dataset if train_val_split is None else _hold_out(dataset, *train_val_split)[1]


def load_splits(
    dataset_name: str, config_name: str | None = None, note: Note = say_note, columns: Columns = USUAL_COLUMNS
) -> DatasetDict:
    """
    Every split of a source, as it lies.

    Args:
        note: is told of what is left out, or could be read in another way.
        columns: of a table of files, to find its own.
    """
    if as_utf8(dataset_name) != dataset_name:
        raise UserError(
            f"dataset_name {as_utf8(dataset_name)}: the path of the data must be UTF-8 (what lies in it may have "
            "any name): rename the folder, or give a link to it (ln -s)"
        )
    path = Path(dataset_name).expanduser()
    if dataset_name == "digits":
        return DatasetDict(digits())  # a dictionary of the caller's own
    if path.is_dir():
        if any(path.glob("*.parquet")) or any(path.glob("*/*.parquet")):
            with errors_named(dataset_name):
                builder = load_dataset_builder(str(path), config_name, cache_dir=cache_for(path))
                for shards in builder.config.data_files.values():
                    if all(shard.endswith(".parquet") for shard in shards):
                        require_one_order((shard, pq.read_schema(shard)) for shard in shards)
                builder.download_and_prepare()
                return builder.as_dataset(in_memory=is_small_dataset(builder.info.dataset_size))  # as `load_dataset`
        tables = tables_in(path, columns.label, note)
        return read_tables(tables, columns, note) if tables else image_folders(path, note)
    if path.is_file():
        if is_table(path):
            return read_tables(tables_beside(path), columns, note)
        if path.suffix != ".parquet":
            raise UserError(
                f"dataset_name {dataset_name} is a file, but not a parquet file or a folder, nor a table "
                f"({', '.join(TABLE_ENDINGS)})"
            )
        with errors_named(dataset_name):
            return load_dataset("parquet", data_files=str(path))
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", dataset_name) or dataset_name.startswith("."):
        raise UserError(f"dataset_name {dataset_name}: no such folder or file")
    with errors_named(dataset_name):
        return load_dataset(dataset_name, config_name)


def _split(splits: DatasetDict, name: str, recipe: Recipe) -> Dataset:
    if name not in splits:
        raise UserError(f"{recipe.dataset_name} has no split {name!r}; it has: {', '.join(splits)}")
    return splits[name]


def _validation_name(splits: DatasetDict, recipe: Recipe) -> str:
    for name in VALIDATION_NAMES:
        if name in splits:
            return name
    raise UserError(
        f"{recipe.dataset_name} has no validation split (it has: {', '.join(splits)}); name one with "
        "--validation_split_name, or hold out a part of the training images with --train_val_split 0.1"
    )


def _hold_out(train: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """
    What is left to train on, and what is held out.

    Raises:
        UserError: a class has not one image for each.
    """
    labels, names = np.array(train["label"][:]), train.features["label"].names
    counts = np.bincount(labels, minlength=len(names))
    small = np.flatnonzero(counts < 2)
    if len(small):
        raise UserError(
            f"train_val_split needs at least 2 images in every class, one to train on and one to judge by: "
            f"{len(small):,} of {len(names):,} classes have fewer, first {names[small[0]]!r} with {counts[small[0]]}"
        )
    held = held_out(labels, share, seed)
    return train.select(np.flatnonzero(~held)), train.select(np.flatnonzero(held))


def _at_most(dataset: Dataset, recipe: Recipe, field: str) -> Dataset:
    """
    Raises:
        UserError: there are more classes than images are wanted.
    """
    number = getattr(recipe, field)
    if number is None or number >= len(dataset):
        return dataset
    labels = np.array(dataset["label"][:])
    if number < len(np.unique(labels)):
        raise UserError(f"{field} {number:,} is less than one image for each of {len(np.unique(labels)):,} classes")
    return dataset.select(sample_rows(labels, number, recipe.seed))


def _columns(
    dataset: Dataset, image_column: str | None, label_column: str | None, classes: ClassValues | None = None
) -> Dataset:
    """The two columns the rest of the package knows, every image with a class that has a name in words."""
    dataset = image_and_label(dataset, image_column, label_column, classes)
    names = dataset.features["label"].names
    words = names_in_words(names)  # so that a model says what it sees, wherever its ImageNet came from
    if words != names:
        dataset = dataset.cast_column("label", ClassLabel(names=words))
    labels = np.array(dataset["label"][:])
    refuse_missing(str(dataset.split or "data"), labels < 0)
    if labels.max() >= len(names):
        row = int(labels.argmax())
        raise UserError(f"row {row} has label {labels[row]}, but there are {len(names)} classes, counted from 0")
    return dataset


def images_and_labels(splits: DatasetDict, columns: Columns = USUAL_COLUMNS) -> DatasetDict:
    """Each split as `image_and_label` gives it, all with the same classes where the data names none."""
    classes = _class_values(splits.values(), *columns)
    return DatasetDict({name: image_and_label(split, *columns, classes) for name, split in splits.items()})


def image_and_label(
    dataset: Dataset,
    image_column: str | None = None,
    label_column: str | None = None,
    classes: ClassValues | None = None,
) -> Dataset:
    """
    Bring any data set into two columns, `image` (encoded) and `label` (a `ClassLabel`; -1: none).

    Args:
        image_column, label_column: None: the only such column there is.
        classes: where the data names none. None: those that occur in it.

    Raises:
        UserError: no such column, several of them, or no rows.
    """
    classes = classes or _class_values([dataset], image_column, label_column)
    image_column, label_column = column_names(dataset.features, image_column, label_column)
    dataset = dataset.select_columns([image_column, label_column])
    if (image_column, label_column) != ("image", "label"):
        dataset = dataset.rename_columns({image_column: "image", label_column: "label"})
    dataset = dataset.cast_column("image", Image(decode=False))
    column = _arrow_column(dataset, "label")
    if classes is not None:
        labels, feature = classes.classes_of(column), ClassLabel(names=classes.names)
    elif column.null_count:
        labels, feature = column.fill_null(-1).to_numpy(), dataset.features["label"]
    else:
        return dataset
    return dataset.remove_columns("label").add_column("label", labels, feature=feature)


def _class_values(
    splits: Iterable[Dataset], image_column: str | None = None, label_column: str | None = None
) -> ClassValues | None:
    """
    The classes of all these splits together, by the values that occur. None: the data names them.

    Raises:
        UserError: as `image_and_label`.
    """
    columns = []
    for split in splits:
        _, name = column_names(split.features, image_column, label_column)
        if len(split) == 0:
            raise UserError("the split is empty")
        if isinstance(split.features[name], ClassLabel):
            return None
        columns.append((f"{split.split or 'data'}, column {name!r}", _arrow_column(split, name)))
    return class_values(columns)


def _arrow_column(dataset: Dataset, name: str) -> pa.ChunkedArray:
    return dataset.select_columns(name).with_format("arrow")[:][name]


def _check_splits(train: Dataset | StreamedSplit, validation: Dataset | StreamedSplit) -> None:
    """
    Raises:
        UserError: there is one class, a class is missing from one split, or their order differs.
    """
    train_names, validation_names = train.features["label"].names, validation.features["label"].names
    if len(train_names) == 1:
        raise UserError(
            f"there is one class only, {train_names[0]!r}, which would be the answer to everything: put the images of "
            "each class into a folder of its own, photos/train/<class>/*.jpg"
        )
    in_train, in_validation = set(train_names), set(validation_names)
    for names, others, where in (
        (train_names, in_validation, "validation"),
        (validation_names, in_train, "train"),
    ):
        missing = [name for name in names if name not in others]
        if missing:
            raise UserError(
                f"train and validation have different classes: {len(missing)} missing from {where}, "
                f"first {missing[0]!r}"
            )
    if train_names != validation_names:
        raise UserError("train and validation list the same classes in a different order")
