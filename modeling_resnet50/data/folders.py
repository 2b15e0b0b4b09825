"""
Image files as they lie on disk, in the layouts people have.

Read with `os.scandir` rather than `datasets`' `imagefolder`, which joins the classes of all splits into one list: a
class missing from one of them would go unnoticed.
"""

import csv
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetDict, Features, Image

from resnet50_recipe.errors import UserError
from resnet50_recipe.words import counted

from .file_names import as_utf8, composed, path_as_text
from .image_files import (
    FORMATS_IN_WORDS,
    ImageFiles,
    find_images,
    holds_images,
    images_beside_folders,
    subfolders,
)
from .notes import Note, say_note


VALIDATION_NAMES = ("validation", "val", "valid", "test")

_SAME_AS_VALIDATION = ("val", "valid")
# Folders by these names, in whatever case, are splits.
SPLITS = {name: name for name in ("train", *VALIDATION_NAMES)} | {
    "training": "train",
    "dev": "validation",
    "testing": "test",
}
_KAGGLE_IMAGES = Path("ILSVRC", "Data", "CLS-LOC")
_KAGGLE_TABLE = "LOC_val_solution.csv"
_SHOWN = 5  # names in a message


def image_folders(root: Path, note: Note = say_note) -> DatasetDict:
    """
    One of these layouts, with the names of the class folders, sorted, as classes:

    - `<split>/<class>/*.jpg`, as torchvision and timm lay ImageNet out; or `<class>/*.jpg`, which is one split;
    - Kaggle's ImageNet: `ILSVRC/Data/CLS-LOC/train/<wnid>/*.JPEG`, `…/val/*.JPEG` and `LOC_val_solution.csv`.

    What lies in folders below a class folder is of that class. Names are in Unicode's normal form C.

    Args:
        root: the folder.
        note: is told what is left out, and how what could be read in two ways is read.

    Raises:
        UserError: none of them, or a class, an image or a label is missing.
    """
    if (root / _KAGGLE_IMAGES / "train").is_dir():
        return _kaggle(root, note)
    splits = _split_folders(root, note)
    if not splits:
        return DatasetDict(train=_class_folders(root, note))
    _say_what_lies_beside(root, note)
    return DatasetDict({split: _class_folders(root / name, note) for split, name in splits.items()})


def require_apart(output_dir: str | Path, dataset_name: str) -> None:
    """
    Raises:
        UserError: a run's folder would lie where class folders of images are read, and its pictures be some of them.
    """
    root, output = (Path(place).expanduser().resolve() for place in (dataset_name, output_dir))
    if not root.is_dir() or root not in (output, *output.parents):
        return
    below = output.relative_to(root).parts[:1]
    others = [name for name in subfolders(root) if name not in below]
    if any(name.lower() in SPLITS for name in [*others, *below]):
        among = bool(below) and below[0].lower() in SPLITS
    else:
        among = any(holds_images(root / name) for name in others)
    if among:
        raise UserError(
            f"output_dir {output_dir} lies among the images of {dataset_name}, and the run's pictures would be taken "
            "for some: choose another with --output_dir"
        )


def standard_split_name(name: str) -> str:
    """A split's name as the Hub has it: `val` and `valid` are `validation`."""
    return "validation" if name in _SAME_AS_VALIDATION else name


def _split_folders(root: Path, note: Note) -> dict[str, str]:
    """
    The folders that are splits, by the splits' names, training first. None: they are classes.

    A folder called `train` is a class where it holds images, and not class folders, like those beside it.
    """
    folders = subfolders(root)
    named = {name: SPLITS[name.lower()] for name in folders if name.lower() in SPLITS}
    others = [name for name in folders if name not in named and holds_images(root / name)] if named else []
    heaps = [name for name in named if _is_heap(root / name)]
    if others and len(heaps) == len(named) <= len(others):
        note(f"{root}: {_in_words(heaps)} lie beside other folders of images: they are classes here, not splits")
        return {}
    if others and not _are_surely_splits(root, list(named)):
        first = next(iter(named))
        raise UserError(
            f"{root} has {_in_words(list(named))}, as splits are called, and beside them {_in_words(others)} with "
            f"images: give {root / first} for the classes in {first!r} alone; or if all of these are classes, put "
            "them into one folder called train"
        )
    if others:
        note(f"{root}: left out: {_in_words(others)}, which are no splits")
    if len(named) > len(heaps) and "test" in (named[name] for name in heaps):  # as contests give it, without labels
        for name in [name for name in heaps if named[name] == "test"]:
            note(f"{root / name}: left out: it has no class folders")
            del named[name]
    splits: dict[str, str] = {}
    for name in sorted(named, key=lambda name: ("train", *VALIDATION_NAMES).index(named[name])):
        if named[name] in splits:
            raise UserError(f"{root}: {splits[named[name]]!r} and {name!r} are one split by their names: keep one")
        splits[named[name]] = name
    return splits


def _is_heap(folder: Path) -> bool:
    """Whether images lie in it, and none in folders below."""
    return holds_images(folder, itself=True) and not any(holds_images(folder / name) for name in subfolders(folder))


def _are_surely_splits(root: Path, names: list[str]) -> bool:
    """Whether some of them have classes in common, and none holds images itself."""
    first, *others = (set(subfolders(root / name)) for name in names)
    return any(first & other for other in others) and not any(holds_images(root / n, itself=True) for n in names)


def _class_folders(folder: Path, note: Note) -> Dataset:
    folders_of: dict[str, list[str]] = {}
    for name in subfolders(folder):
        folders_of.setdefault(composed(as_utf8(name)), []).append(name)
    names = sorted(folders_of)
    if not names:
        raise UserError(
            f"{folder} has no class folders: images must lie in {folder}/<class>/, or a table have their labels "
            "(--dataset_name PHOTOS/labels.csv). (For ImageNet's own archives: resnet50 prepare imagenet1k)"
        )
    for name, alike in folders_of.items():
        if len(alike) > 1:
            note(f"{folder}: {len(alike)} folders look alike and differ in Unicode's form only: one class {name!r}")
    labels, empty, found = [], [], ImageFiles()
    for label, name in enumerate(names):
        before = len(found.paths)
        for each in folders_of[name]:
            found += find_images(folder / each)
        labels += [label] * (len(found.paths) - before)
        if len(found.paths) == before:
            empty.append(name)
    instead = f" (there are {found.left_out_in_words})" if found.left_out else ""
    if not found.paths:
        raise UserError(
            f"{folder} has {counted(len(names), 'class folder')} but no images in them{instead}: "
            f"{FORMATS_IN_WORDS} are read"
        )
    if empty:
        raise UserError(
            f"{folder}: no images in {len(empty)} of {len(names)} class folders, first {empty[0]!r}{instead}"
        )
    _say_what_is_left_out(folder, found, note)
    _say_what_lies_beside(folder, note)
    if found.below:
        note(
            f"{folder}: {counted(len(found.below), 'image')} further below, counted for the class folder, first "
            f"{as_utf8(found.below[0])}"
        )
    return labelled_files(found.paths, labels, names)


def _say_what_is_left_out(folder: Path, found: ImageFiles, note: Note) -> None:
    if found.left_out:
        note(f"{folder}: left out, as no images that are read here: {found.left_out_in_words}")


def _say_what_lies_beside(folder: Path, note: Note) -> None:
    beside = images_beside_folders(folder)
    if beside:
        found = counted(len(beside), "image")
        note(f"{folder}: left out: {found} outside of the class folders, first {as_utf8(beside[0])}")


def _kaggle(root: Path, note: Note) -> DatasetDict:
    table = root / _KAGGLE_TABLE
    if not table.is_file():
        raise UserError(f"{root} is Kaggle's ImageNet without {_KAGGLE_TABLE}, which has the validation labels")
    train = _class_folders(root / _KAGGLE_IMAGES / "train", note)
    names = train.features["label"].names
    number_of = {name: number for number, name in enumerate(names)}
    label_of = {}
    with table.open(newline="") as file:
        for row in csv.reader(file):
            if row and row[0] != "ImageId":
                # "n03995372 85 1 499 272 …": class and box of each object, all of one class
                wnid = row[1].split()[0] if len(row) == 2 and row[1].split() else ""
                if wnid not in number_of:
                    raise UserError(f"{table}: {row[0]} is of class {wnid!r}, which has no folder of training images")
                label_of[row[0]] = number_of[wnid]
    validation = root / _KAGGLE_IMAGES / "val"
    found = find_images(validation)
    _say_what_is_left_out(validation, found, note)
    paths = found.paths
    stems = [Path(path).stem for path in paths]
    unlabelled, absent = sorted(set(stems) - set(label_of)), sorted(set(label_of) - set(stems))
    if unlabelled:
        raise UserError(f"{len(unlabelled)} validation images have no row in {table}, first {unlabelled[0]}")
    if absent:
        raise UserError(f"{len(absent)} rows of {table} have no image in {validation}, first {absent[0]}")
    return DatasetDict(train=train, validation=labelled_files(paths, [label_of[stem] for stem in stems], names))


def labelled_files(paths: list[str], labels: list[int], names: list[str]) -> Dataset:
    """Rows of `image` and `label`, by number among the classes' names."""
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=names)})
    texts = [path_as_text(path) for path in paths]
    return Dataset.from_dict({"image": texts, "label": labels}, features=features)


def _in_words(names: list[str]) -> str:
    """`'bike', 'car' and 7 more`"""
    shown = ", ".join(repr(as_utf8(name)) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
