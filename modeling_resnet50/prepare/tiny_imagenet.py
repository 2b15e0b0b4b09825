"""
Tiny-ImageNet (Stanford's CS231n): 200 classes, 64 pixels, into `train/<wnid>/` and `val/<wnid>/`.

In its archive, training images lie in `train/<wnid>/images/`, and all validation images in one folder, with their
classes in `val_annotations.txt`. Its test images have no labels and are left out.
"""

import re
import zipfile
from pathlib import Path, PurePosixPath

from resnet50_recipe.errors import UserError

from .archives import damage_named, extract, zip_files
from .steps import Steps, require_space


_TRAIN = re.compile(r"tiny-imagenet-200/train/([^/]+)/images/([^/]+)")
_VALIDATION = re.compile(r"tiny-imagenet-200/val/images/([^/]+)")
_ANNOTATIONS = "tiny-imagenet-200/val/val_annotations.txt"


def extract_tiny_imagenet(archive: Path, to: Path, steps: Steps) -> None:
    """
    Raises:
        UserError: damaged, another archive, or images and annotations that do not belong together.
    """
    missing = [split for split in ("train", "val") if not (to / split).is_dir()]
    if not missing:
        steps.say("extract", "train and val are there already")
        return
    with damage_named(archive.name), zipfile.ZipFile(archive) as content:
        names = content.namelist()
        unpacked = sum(entry.file_size for entry in content.infolist())
    unfinished = [to / f".{split}.unfinished" for split in ("train", "val")]
    require_space(to, unpacked, f"extracting {archive.name}", *unfinished)
    wnid_of = _annotations(archive)
    classes = {match[1] for name in names if (match := _TRAIN.fullmatch(name))}
    absent = sorted(set(wnid_of) - {match[1] for name in names if (match := _VALIDATION.fullmatch(name))})
    if absent:
        raise UserError(f"{archive.name}: {len(absent)} annotated validation images are missing, first {absent[0]}")
    stray = sorted(set(wnid_of.values()) - classes)
    if stray:
        raise UserError(f"{archive.name}: the validation images have a class without training images: {stray[0]}")

    def train(name: str) -> PurePosixPath | None:
        match = _TRAIN.fullmatch(name)
        return PurePosixPath(match[1], match[2]) if match else None

    def validation(name: str) -> PurePosixPath | None:
        match = _VALIDATION.fullmatch(name)
        if match is None:
            return None
        if match[1] not in wnid_of:
            raise UserError(f"{archive.name}: {match[1]} has no line in val_annotations.txt")
        return PurePosixPath(wnid_of[match[1]], match[1])

    done, total = 0, sum(1 for name in names if _TRAIN.fullmatch(name) or _VALIDATION.fullmatch(name))

    def on_file() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    with steps.bar("extract", archive.name, "images") as on_progress:
        for split, place in (("train", train), ("val", validation)):
            extract(zip_files(archive), archive.name, to / split, place, on_file)


def _annotations(archive: Path) -> dict[str, str]:
    """Validation image → wnid."""
    for name, content in zip_files(archive):
        if name == _ANNOTATIONS:
            rows = [line.split("\t") for line in content.read().decode().splitlines()]
            if not rows or any(len(row) < 2 for row in rows):
                raise UserError(f"{archive.name}: val_annotations.txt is not `file <tab> wnid <tab> …` lines")
            return {row[0]: row[1] for row in rows}
    raise UserError(f"{archive.name} holds no {_ANNOTATIONS}: not Tiny-ImageNet's archive")
