"""ImageNet's labels, from the files that come with it: never from the order of files."""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from resnet50_recipe.errors import UserError

from .archives import tar_files


_META = "meta.mat"
_TRUTH_TEXT = "ILSVRC2012_validation_ground_truth.txt"
_TRUTH_MAT = "ILSVRC2012_validation_ground_truth.mat"
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


@dataclass(frozen=True)
class DevKit:
    """
    What the development kit says.

    Attributes:
        names: words for each class, by wnid, in the class order everyone uses: that of the sorted wnids.
        validation_wnids: the class of validation image 1, 2, …
    """

    names: dict[str, str]
    validation_wnids: list[str]

    def validation_wnid(self, file_name: str) -> str:
        """
        The class of a validation image, by the number in its name.

        Raises:
            UserError: no such image.
        """
        match = _VALIDATION_NAME.fullmatch(file_name)
        if match is None or not 1 <= int(match[1]) <= len(self.validation_wnids):
            raise UserError(
                f"{file_name!r} is no validation image: ILSVRC2012_val_00000001.JPEG to "
                f"{len(self.validation_wnids):08d} are"
            )
        return self.validation_wnids[int(match[1]) - 1]


def read_devkit(path: Path) -> DevKit:
    """
    The development kit, as the archive `ILSVRC2012_devkit_t12.tar.gz` or unpacked.

    Its class numbers (ILSVRC2012_ID) follow an order of their own, which `meta.mat` translates to wnids. The ground
    truth may be text, a number a line, or a MAT file.

    Raises:
        UserError: files are missing, damaged, or disagree.
    """
    contents = _contents(path)
    wnid_of, names = _read_meta(contents, path)
    truth = _read_truth(contents, path)
    unknown = sorted(set(truth) - set(wnid_of))
    if unknown:
        raise UserError(f"{path}: the ground truth names class {unknown[0]}, which {_META} does not know")
    return DevKit({wnid: names[wnid] for wnid in sorted(names)}, [wnid_of[number] for number in truth])


def _contents(path: Path) -> dict[str, bytes]:
    wanted = (_META, _TRUTH_TEXT, _TRUTH_MAT)
    if path.is_dir():
        return {file.name: file.read_bytes() for file in sorted(path.rglob("*")) if file.name in wanted}
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    with path.open("rb") as file:
        members = ((Path(name).name, content) for name, content in tar_files(file, path.name))
        return {name: content.read() for name, content in members if name in wanted}


def _read_meta(contents: dict[str, bytes], path: Path) -> tuple[dict[int, str], dict[str, str]]:
    """ILSVRC2012_ID → wnid, and wnid → words, of the synsets that are classes: those without children."""
    synsets = _read_mat(contents, _META, path).get("synsets")
    fields = {"ILSVRC2012_ID", "WNID", "words", "num_children"}
    if synsets is None or not fields <= set(synsets.dtype.names or ()):
        raise UserError(f"{path}: {_META} has no table of synsets with the fields {', '.join(sorted(fields))}")
    classes = [synset for synset in np.atleast_1d(synsets) if int(synset["num_children"]) == 0]
    wnid_of = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in classes}
    names = {str(synset["WNID"]): str(synset["words"]) for synset in classes}
    if len(wnid_of) != len(classes) or len(names) != len(classes):
        raise UserError(f"{path}: {_META} has two classes with one number or one wnid")
    return wnid_of, names


def _read_truth(contents: dict[str, bytes], path: Path) -> list[int]:
    if _TRUTH_TEXT in contents:
        try:
            return [int(line) for line in contents[_TRUTH_TEXT].split()]
        except ValueError as error:
            raise UserError(f"{path}: {_TRUTH_TEXT} must hold a class number in each line: {error}") from error
    if _TRUTH_MAT not in contents:
        raise UserError(f"{path} holds neither {_TRUTH_TEXT} nor {_TRUTH_MAT}: not ImageNet's development kit")
    arrays = [value for value in _read_mat(contents, _TRUTH_MAT, path).values() if isinstance(value, np.ndarray)]
    if len(arrays) != 1 or not np.issubdtype(arrays[0].dtype, np.number):
        raise UserError(f"{path}: {_TRUTH_MAT} must hold one array of class numbers")
    return [int(number) for number in arrays[0].ravel()]


def _read_mat(contents: dict[str, bytes], name: str, path: Path) -> dict[str, np.ndarray]:
    if name not in contents:
        raise UserError(f"{path} holds no {name}: not ImageNet's development kit")
    try:
        return loadmat(io.BytesIO(contents[name]), squeeze_me=True)
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError) as error:
        raise UserError(f"{path}: {name} is damaged ({error}): fetch it again") from error
