"""
Image files as they lie on disk, in the layouts people have.

Read with `os.scandir` rather than `datasets`' `imagefolder`, which joins the classes of all splits into one list: a
class missing from one of them would go unnoticed.
"""

import csv
import os
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from ..errors import UserError


VALIDATION_NAMES = ("validation", "val", "valid", "test")

_SAME_AS_VALIDATION = ("val", "valid")
_KAGGLE_IMAGES = Path("ILSVRC", "Data", "CLS-LOC")
_KAGGLE_TABLE = "LOC_val_solution.csv"


def image_folders(root: Path) -> DatasetDict:
    """
    One of these layouts, with the names of the class folders, sorted, as classes:

    - `<split>/<class>/*.jpg`, as torchvision and timm lay ImageNet out; or `<class>/*.jpg`, which is one split;
    - Kaggle's ImageNet: `ILSVRC/Data/CLS-LOC/train/<wnid>/*.JPEG`, `…/val/*.JPEG` and `LOC_val_solution.csv`.

    Raises:
        UserError: none of them, or a class, an image or a label is missing.
    """
    if (root / _KAGGLE_IMAGES / "train").is_dir():
        return _kaggle(root)
    folders = _subfolders(root)
    split_names = [name for name in ("train", *VALIDATION_NAMES) if name in folders]
    if split_names:
        return DatasetDict({name: _class_folders(root / name) for name in split_names})
    return DatasetDict(train=_class_folders(root))


def standard_split_name(name: str) -> str:
    """A split's name as the Hub has it: `val` and `valid` are `validation`."""
    return "validation" if name in _SAME_AS_VALIDATION else name


def _class_folders(folder: Path) -> Dataset:
    names = _subfolders(folder)
    if not names:
        raise UserError(
            f"{folder} has no class folders: images must lie in {folder}/<class>/. (For ImageNet's own archives: "
            "resnet50 prepare imagenet1k)"
        )
    paths, labels, empty = [], [], []
    for label, name in enumerate(names):
        files = _images(folder / name)
        paths += files
        labels += [label] * len(files)
        if not files:
            empty.append(name)
    if not paths:
        raise UserError(
            f"{folder} has {len(names)} class folders but no images in them ({', '.join(IMG_EXTENSIONS)} count)"
        )
    if empty:
        raise UserError(f"{folder}: no images in {len(empty)} of {len(names)} class folders, first {empty[0]!r}")
    return _dataset(paths, labels, names)


def _kaggle(root: Path) -> DatasetDict:
    table = root / _KAGGLE_TABLE
    if not table.is_file():
        raise UserError(f"{root} is Kaggle's ImageNet without {_KAGGLE_TABLE}, which has the validation labels")
    train = _class_folders(root / _KAGGLE_IMAGES / "train")
    names = train.features["label"].names
    label_of = {}
    with table.open(newline="") as file:
        for row in csv.reader(file):
            if row and row[0] != "ImageId":
                # "n03995372 85 1 499 272 …": class and box of each object, all of one class
                wnid = row[1].split()[0] if len(row) == 2 and row[1].split() else ""
                if wnid not in names:
                    raise UserError(f"{table}: {row[0]} is of class {wnid!r}, which has no folder of training images")
                label_of[row[0]] = names.index(wnid)
    validation = root / _KAGGLE_IMAGES / "val"
    paths = _images(validation)
    stems = [Path(path).stem for path in paths]
    unlabelled, absent = sorted(set(stems) - set(label_of)), sorted(set(label_of) - set(stems))
    if unlabelled:
        raise UserError(f"{len(unlabelled)} validation images have no row in {table}, first {unlabelled[0]}")
    if absent:
        raise UserError(f"{len(absent)} rows of {table} have no image in {validation}, first {absent[0]}")
    return DatasetDict(train=train, validation=_dataset(paths, [label_of[stem] for stem in stems], names))


def _dataset(paths: list[str], labels: list[int], names: list[str]) -> Dataset:
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"image": paths, "label": labels}, features=features)


def _images(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.path for e in entries if e.name.lower().endswith(IMG_EXTENSIONS) and e.name[0] != ".")


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
