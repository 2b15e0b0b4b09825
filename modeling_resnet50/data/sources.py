"""
Where images come from. Every source ends as a `datasets.Dataset` with two columns:

- `image`: encoded bytes or the path of a file, not decoded (`Image(decode=False)`),
- `label`: a `ClassLabel`, whose names become the model's `id2label`.
"""

import io
import re
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, load_dataset
from PIL import Image as PILImage

from ..errors import UserError
from ..recipe import Recipe
from .class_names import names_in_words
from .folders import VALIDATION_NAMES, image_folders
from .opening import cache_for, column_names, errors_named
from .streaming import StreamedSplit, open_streamed_split


def load_train_and_validation(recipe: Recipe) -> tuple[Dataset, Dataset]:
    """
    The images a recipe trains on and those it is judged by, with the same classes in the same order.

    Raises:
        UserError: the source is missing, out of reach, empty, unlabelled, or its splits disagree about the classes.
    """
    splits = load_splits(recipe.dataset_name, recipe.dataset_config_name)
    train_name = recipe.train_split_name or "train"
    train = _columns(_split(splits, train_name, recipe), recipe.image_column_name, recipe.label_column_name)
    if recipe.train_val_split is not None:
        smallest = np.bincount(train["label"][:]).min()
        if smallest < 2:
            raise UserError("train_val_split needs at least 2 images in every class")
        parts = train.train_test_split(recipe.train_val_split, stratify_by_column="label", seed=recipe.seed)
        train, validation = parts["train"], parts["test"]
    else:
        validation = _split(splits, recipe.validation_split_name or _validation_name(splits, recipe), recipe)
        validation = _columns(validation, recipe.image_column_name, recipe.label_column_name)
    _check_splits(recipe, train, validation)
    return train, validation


def open_streamed_train_and_validation(recipe: Recipe) -> tuple[StreamedSplit, StreamedSplit]:
    """As `load_train_and_validation`, of parquet shards that stay where they are."""
    if recipe.train_val_split is not None:
        raise UserError("train_val_split cannot hold out a part of a stream: it needs a validation split of its own")
    columns = (recipe.dataset_config_name, recipe.image_column_name, recipe.label_column_name)
    validation_names = [recipe.validation_split_name] if recipe.validation_split_name else VALIDATION_NAMES
    train = open_streamed_split(recipe.dataset_name, [recipe.train_split_name or "train"], *columns)
    validation = open_streamed_split(recipe.dataset_name, validation_names, *columns)
    _check_splits(recipe, train, validation)
    return train, validation


def load_evaluation_split(
    dataset_name: str,
    split_name: str | None = None,
    config_name: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Dataset:
    """
    One split to evaluate on: the named one, else the validation split, else the only one there is.

    Raises:
        UserError: as `load_train_and_validation`.
    """
    splits = load_splits(dataset_name, config_name)
    if split_name is None:
        split_name = next((name for name in VALIDATION_NAMES if name in splits), None)
        if split_name is None and len(splits) == 1:
            split_name = next(iter(splits))
    if split_name not in splits:
        raise UserError(f"{dataset_name} has no split {split_name or 'validation'!r}; it has: {', '.join(splits)}")
    return _columns(splits[split_name], image_column, label_column)


def load_splits(dataset_name: str, config_name: str | None = None) -> DatasetDict:
    """Every split of a source, as it lies."""
    path = Path(dataset_name).expanduser()
    if dataset_name == "digits":
        return _digits()
    if path.is_dir():
        if any(path.glob("*.parquet")) or any(path.glob("*/*.parquet")):
            with errors_named(dataset_name):
                return load_dataset(str(path), config_name, cache_dir=cache_for(path))
        return image_folders(path)
    if path.is_file():
        if path.suffix != ".parquet":
            raise UserError(f"dataset_name {dataset_name} is a file, but not a parquet file or a folder")
        with errors_named(dataset_name):
            return load_dataset("parquet", data_files=str(path))
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", dataset_name) or dataset_name.startswith("."):
        raise UserError(f"dataset_name {dataset_name}: no such folder or file")
    with errors_named(dataset_name):
        return load_dataset(dataset_name, config_name)


def _digits() -> DatasetDict:
    """scikit-learn's 1,797 handwritten digits, enlarged from 8×8 to 32×32 RGB PNGs; every class split 80/20."""
    from sklearn.datasets import load_digits  # half a second, which other data need not wait for

    digits = load_digits()
    images = []
    for pixels in digits.images:
        image = PILImage.fromarray((pixels * 255 / 16).round().astype(np.uint8))
        buffer = io.BytesIO()
        image.resize((32, 32), PILImage.Resampling.BICUBIC).convert("RGB").save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue(), "path": None})
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=[str(d) for d in range(10)])})
    dataset = Dataset.from_dict({"image": images, "label": digits.target.tolist()}, features=features)
    parts = dataset.train_test_split(0.2, stratify_by_column="label", seed=0)
    return DatasetDict(train=parts["train"], validation=parts["test"])


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


def _columns(dataset: Dataset, image_column: str | None, label_column: str | None) -> Dataset:
    """The two columns the rest of the package knows, every image with a class that has a name in words."""
    dataset = image_and_label(dataset, image_column, label_column)
    names = dataset.features["label"].names
    words = names_in_words(names)  # so that a model says what it sees, wherever its ImageNet came from
    if words != names:
        dataset = dataset.cast_column("label", ClassLabel(names=words))
    labels = np.array([-1 if label is None else label for label in dataset["label"][:]])
    if labels.min() < 0:
        raise UserError(f"{(labels < 0).sum()} images have no label (label -1, as in ImageNet's test split)")
    if labels.max() >= len(names):
        row = int(labels.argmax())
        raise UserError(f"row {row} has label {labels[row]}, but there are {len(names)} classes, counted from 0")
    return dataset


def image_and_label(dataset: Dataset, image_column: str | None = None, label_column: str | None = None) -> Dataset:
    """
    Bring any data set into two columns, `image` (encoded) and `label` (a `ClassLabel`).

    Args:
        image_column, label_column: None: the only such column there is.

    Raises:
        UserError: no such column, several of them, or no rows.
    """
    image_column, label_column = column_names(dataset.features, image_column, label_column)
    dataset = dataset.select_columns([image_column, label_column])
    if (image_column, label_column) != ("image", "label"):
        dataset = dataset.rename_columns({image_column: "image", label_column: "label"})
    dataset = dataset.cast_column("image", Image(decode=False))
    if len(dataset) == 0:
        raise UserError("the split is empty")
    if not isinstance(dataset.features["label"], ClassLabel):
        dataset = _name_classes(dataset, label_column)
    return dataset


def _name_classes(dataset: Dataset, label_column: str) -> Dataset:
    labels = dataset["label"][:]
    if isinstance(labels[0], str):
        return dataset.class_encode_column("label")
    if not isinstance(labels[0], int):
        raise UserError(f"column {label_column!r} must hold class numbers or names, not {type(labels[0]).__name__}")
    return dataset.cast_column("label", ClassLabel(names=[str(label) for label in range(max(labels) + 1)]))


def _check_splits(recipe: Recipe, train: Dataset | StreamedSplit, validation: Dataset | StreamedSplit) -> None:
    """
    Raises:
        UserError: not a batch of training images, a class is missing from one split, or their order differs.
    """
    train_names, validation_names = train.features["label"].names, validation.features["label"].names
    for one, other, where in ((train_names, validation_names, "validation"), (validation_names, train_names, "train")):
        missing = [name for name in one if name not in set(other)]
        if missing:
            raise UserError(
                f"train and validation have different classes: {len(missing)} missing from {where}, "
                f"first {missing[0]!r}"
            )
    if train_names != validation_names:
        raise UserError("train and validation list the same classes in a different order")
    recipe.check_fills_a_batch(len(train))
