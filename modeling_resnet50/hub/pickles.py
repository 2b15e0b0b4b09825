"""Files of `torch.save`, read without running anything in them, and what other files are that bear their names."""

import argparse
import pathlib
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray

from resnet50_recipe.errors import UserError, in_one_line


_NUMBERS = (np.bool_, np.integer, np.floating)

# What training scripts pickle beside tensors and plain values: their parsed command line, as timm's train.py and
# torchvision's references do, with paths in it; accuracies as numpy has them; and the state of its generator. None of
# it has code to run, and nothing of it is used. Paths become those that no system refuses.
_SAFE_CLASSES: list[Any] = [
    argparse.Namespace,
    *((pathlib.PurePosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
    *((pathlib.PureWindowsPath, f"{module}.WindowsPath") for module in ("pathlib", "pathlib._local")),
    *((multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((multiarray._reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in np.sctypeDict.values() if issubclass(kind, _NUMBERS)},
]

# What PyTorch's reader stumbles over where the bytes of a pickle make no sense.
_OF_A_DAMAGED_PICKLE = (ValueError, TypeError, LookupError, AttributeError, AssertionError)

# The first bytes of what else is found under the names of weights.
_OTHERS = {
    rb"version https://git-lfs": "a pointer of Git LFS, and not the file itself: git lfs pull fetches that",
    rb"\s*(<\?xml[^>]*>\s*)?<net ": "an export for OpenVINO, which resnet50 benchmark runs; others take ONNX files",
    rb"(?s).{4}ET\d\d": "an export for ExecuTorch, which resnet50 benchmark runs; others take ONNX files",
    rb"\s*<[!?a-zA-Z]": "a web page: what was downloaded is not the file itself",
    rb"\s*\{": "JSON text",
    rb"\x89HDF": "a file of HDF5, as Keras writes them",
}
_OTHER_MEMBERS = {
    r"[^/]+\.npy": "arrays of numpy",
    r".*\.h5": "a model of Keras",
    r"[^/]+/code/.*": "a program of TorchScript: torch.save(torch.jit.load(FILE).state_dict(), …) has its weights",
    r"[^/]+/models/.*": "a program of torch.export: torch.save(torch.export.load(FILE).state_dict, …) has its weights",
}


def unpickle(path: Path, device: str = "cpu") -> Any:
    """
    The content of a file that `torch.save` wrote, without running anything in it. On `"meta"`, tensors are shapes.

    Raises:
        UserError: it is damaged, another kind of file, or holds more than weights.
    """
    try:
        with torch.serialization.safe_globals(_SAFE_CLASSES), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle that it then refuses, or of TorchScript
            return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = re.search(r"(?:unsupported (?:global|class)|can only|try(?:ing)?)\b[^\n]*", str(error), re.IGNORECASE)
        if reason is None:
            raise _not_of_torch(path, error) from error
        foreign = re.search(r"(?:GLOBAL|class) [`']?([\w.]+)", reason[0])
        raise UserError(
            f"{path} is refused: its pickle holds more than weights ({foreign[1] if foreign else reason[0]}), which "
            "could run any code on this machine. Ask its author for a safetensors file; of your own, give what "
            "torch.save(model.state_dict(), …) writes"
        ) from error
    except (RuntimeError, EOFError, zipfile.BadZipFile, OSError, *_OF_A_DAMAGED_PICKLE) as error:
        raise _not_of_torch(path, error) from error


def is_safetensors(path: Path) -> bool:
    """By its content: eight bytes with the length of a header, which is JSON."""
    with path.open("rb") as file:
        length, begin = int.from_bytes(file.read(8), "little"), file.read(1)
    return begin == b"{" and length <= path.stat().st_size


def other_kind(path: Path) -> str | None:
    """What a file is that holds no weights of PyTorch, in words; None: nothing that is known."""
    with path.open("rb") as file:
        begin = file.read(64)
    known = next((words for magic, words in _OTHERS.items() if re.match(magic, begin)), None)
    if known is not None or not zipfile.is_zipfile(path):
        return known
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
    kinds = (kind for kind in _OTHER_MEMBERS if any(re.fullmatch(kind, member) for member in members))
    return _OTHER_MEMBERS.get(next(kinds, ""))


def _not_of_torch(path: Path, error: Exception) -> UserError:
    kind = other_kind(path)
    if kind is not None:
        return UserError(f"{path} is {kind}")
    said = "" if isinstance(error, pickle.UnpicklingError) else f": {in_one_line(error).partition('. ')[0]}"
    return UserError(f"{path} is damaged, or was not written by torch.save{said}")
