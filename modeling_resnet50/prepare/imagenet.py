"""ImageNet-1K from its three archives into `train/<wnid>/` and `val/<wnid>/`."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from resnet50_recipe.errors import UserError

from .archives import damage_named, disk_full_named, extract, finish, tar_files
from .known_files import ImageNetFiles, KnownFile
from .labels import DevKit, read_devkit
from .steps import Steps, Verified, require_space


def prepare_imagenet(
    to: Path,
    files: ImageNetFiles,
    fetch: Callable[[KnownFile], Path],
    verify: Callable[[Path, KnownFile], None],
    steps: Steps,
) -> None:
    """
    Fetch, verify, label and extract; each step only as far as it has not been done.

    Args:
        to: the data set's folder. `train` and `val` get their names in it when they are whole.
        files: what the archives are called and how they are recognised.
        fetch: brings an archive here, and says where it is.
        verify: raises UserError if a file is not the archive it should be.
        steps: is told what happens.

    Raises:
        UserError: an archive is missing, not the right one or damaged, or the disk is full.
    """
    missing = [split for split in ("train", "val") if not (to / split).is_dir()]
    if not missing:
        steps.say("extract", "train and val are there already")
        return
    verified = Verified(to)

    def archive(known: KnownFile) -> Path:
        path = fetch(known)
        if path.is_dir():  # an unpacked development kit
            return path
        if path not in verified:
            verify(path, known)
            verified.add(path)
        return path

    devkit = read_devkit(archive(files.devkit))
    steps.say("label", f"{len(devkit.names):,} classes, {len(devkit.validation_wnids):,} validation images")
    if "val" in missing:
        extract_validation(archive(files.val), to / "val", devkit, steps)
    if "train" in missing:
        extract_train(archive(files.train), to / "train", devkit, steps)


def extract_validation(archive: Path, target: Path, devkit: DevKit, steps: Steps) -> None:
    """
    Spread the validation images over class folders, by the number in each image's name.

    Raises:
        UserError: damaged, or not exactly the images of the ground truth.
    """
    done, total = 0, len(devkit.validation_wnids)
    unfinished = target.with_name(f".{target.name}.unfinished")
    require_space(target.parent, archive.stat().st_size, f"extracting {archive.name}", unfinished)

    def place(name: str) -> PurePosixPath:
        return PurePosixPath(devkit.validation_wnid(name)) / name

    def on_file() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    with steps.bar("extract", archive.name, "images") as on_progress, archive.open("rb") as file:
        extract(_all(tar_files(file, archive.name), total, archive.name), archive.name, target, place, on_file)


def extract_train(archive: Path, target: Path, devkit: DevKit, steps: Steps) -> None:
    """
    Unpack the archives within the archive, one for each class.

    Raises:
        UserError: damaged, or not exactly the classes of the development kit.
    """
    unfinished = target.with_name(f".{target.name}.unfinished")
    require_space(target.parent, archive.stat().st_size, f"extracting {archive.name}", unfinished)
    wanted = {f"{wnid}.tar": wnid for wnid in devkit.names}
    found = set()
    with (
        steps.bar("extract", archive.name, "classes") as on_progress,
        disk_full_named(target),
        archive.open("rb") as file,
    ):
        for inner, content in tar_files(file, archive.name):
            if inner not in wanted or inner in found:
                raise UserError(f"{archive.name} holds {inner!r}, which is not one of the classes' archives: refused")
            found.add(inner)
            wnid = wanted[inner]

            def place(name: str, wnid: str = wnid) -> PurePosixPath:
                if not (name.startswith(f"{wnid}_") and "/" not in name):
                    raise UserError(f"{wnid}.tar holds {name!r}, which is no image of that class")
                return PurePosixPath(name)

            with damage_named(archive.name):
                extract(tar_files(content, f"{inner} in {archive.name}"), inner, unfinished / wnid, place)
            on_progress(len(found), len(wanted))
        missing = sorted(set(wanted) - found)
        if missing:
            raise UserError(f"{archive.name} lacks {len(missing)} classes, first {missing[0]}")
        finish(unfinished, target)


def _all(files: Iterable[tuple[str, IO[bytes]]], total: int, archive: str) -> Iterator[tuple[str, IO[bytes]]]:
    """The same files, and an error at the end if they are not `total`."""
    count = 0
    for file in files:
        count += 1
        yield file
    if count != total:
        raise UserError(f"{archive} holds {count:,} images, not the {total:,} of the ground truth")
