"""What a teacher says of the training images, on the disk: worked out once, and read from then on."""

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor, nn

from resnet50_recipe.errors import UserError, in_one_line, storage_trouble
from resnet50_recipe.recipe import Recipe

from ..files import require_writable, sync


# All that an image goes through until the teacher sees it.
SHAPE_THE_IMAGES = (
    "seed", "sampling", "on_bad_image", "image_size", "interpolation", "train_interpolation", "exif_orientation",
    "random_crop_scale", "random_crop_ratio", "random_flip", "random_vertical_flip", "random_rotate_90",
    "color_jitter", "auto_augment", "rand_augment_num_ops", "rand_augment_magnitude", "rand_augment_magnitude_std",
    "rand_augment_increasing", "random_erasing", "augmentation_repeats", "image_size_start", "image_size_ramp",
    "mixup_alpha", "cutmix_alpha", "mixup_prob", "mixup_switch_prob", "mixup_off_epoch", "mixup_group_size",
    "image_mean", "image_std", "num_channels", "teacher_image_size",
)  # fmt: skip
MADE_FOR = "made_for.json"

# NumPy has no bfloat16: its 16 bits.
_STORED_AS = {torch.float32: "<f4", torch.float16: "<f2", torch.bfloat16: "<u2"}
_HEADER = 256  # bytes, padding included


class TeacherCache:
    """
    A teacher's logits for each place in the order of each epoch, in the type they are computed in: so training by
    them is the same, to the bit.

    `epoch-0001.npy` … are NumPy arrays of `check` and `logits`; `made_for.json` says of which teacher and images. A
    row counts only where its `check` is that of its content: what a killed run, a lost machine or a bad disk has left
    of it is worked out again. Processes, and runs at the same time, need not know of each other: each writes whole
    rows, and what two of them write is the same.

    Args:
        folder: made where it is not there.
        made_for: by `made_for`.
        place_of: the epoch, and the place in it of the first image, of the batch with that number.
        shape: images of an epoch, and classes.
        report: is told, once, that the disk takes no more; the teacher then works on.

    Raises:
        UserError: the folder is for another teacher or other images, or cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        made_for: dict[str, Any],
        place_of: Callable[[int], tuple[int, int]],
        shape: tuple[int, int],
        report: Callable[[str], None],
    ):
        self.folder, self.place_of, self.shape, self.report = folder, place_of, shape, report
        self.is_full = False
        _hold(folder, made_for)

    def __call__(self, batch: dict[str, Any], compute: Callable[[], Tensor]) -> Tensor:
        """
        Logits `(images, num_labels)` of a batch, from the disk where all of them are there.

        Args:
            batch: with its `number`, the `indices` of its images, and `pixel_values`.
            compute: works them out.
        """
        epoch, first = self.place_of(batch["number"])
        path = self.folder / f"epoch-{epoch:04d}.npy"
        logits = self._read(path, first, batch["indices"])
        if logits is not None:
            return logits.to(batch["pixel_values"].device)
        logits = compute()
        if not self.is_full:
            try:
                self._write(path, first, batch["indices"], logits)
            except OSError as error:
                self.is_full = True
                self.report(f"teacher_cache: {storage_trouble(error) or in_one_line(error)}. The teacher works on")
        return logits

    def _read(self, path: Path, first: int, indices: list[int]) -> Tensor | None:
        dtype = self._dtype_in(path)
        if dtype is None:
            return None
        rows_type = self._rows_type(dtype)
        with path.open("rb") as file:
            offset = _HEADER + first * rows_type.itemsize
            rows = np.fromfile(file, rows_type, count=len(indices), offset=offset)
        if len(rows) < len(indices) or any(rows["check"] != _checks(rows["logits"], indices)):
            return None
        return torch.from_numpy(rows["logits"].copy()).view(dtype)

    def _write(self, path: Path, first: int, indices: list[int], logits: Tensor) -> None:
        there = self._dtype_in(path)
        if there not in (None, logits.dtype):
            raise UserError(
                f"{path} has logits in {there}, and the teacher gives {logits.dtype} now: choose another teacher_cache"
            )
        rows_type = self._rows_type(logits.dtype)
        rows = np.empty(len(indices), rows_type)
        bits = logits.detach().cpu().contiguous()
        rows["logits"] = (bits.view(torch.uint16) if bits.dtype == torch.bfloat16 else bits).numpy()
        rows["check"] = _checks(rows["logits"], indices)
        path.touch()
        with path.open("r+b") as file:
            if there is None:  # processes that come here at the same time write the same
                file.write(_header(rows_type, self.shape[0]))
                file.truncate(_HEADER + self.shape[0] * rows_type.itemsize)
            file.seek(_HEADER + first * rows_type.itemsize)
            file.write(rows.tobytes())

    def _rows_type(self, dtype: torch.dtype) -> np.dtype:
        return np.dtype([("check", "<u4"), ("logits", _STORED_AS[dtype], (self.shape[1],))])

    def _dtype_in(self, path: Path) -> torch.dtype | None:
        """Of the logits in a file; None if it is not there, or not whole enough to say so."""
        try:
            with path.open("rb") as file:
                header = file.read(_HEADER)
        except FileNotFoundError:
            return None
        types = (dtype for dtype in _STORED_AS if header == _header(self._rows_type(dtype), self.shape[0]))
        return next(types, None)


def made_for(recipe: Recipe, precision: str, teachers: nn.Module, data: dict[str, Any]) -> dict[str, Any]:
    """
    What decides the logits, by names that a message can use.

    Args:
        precision: of training, `no`, `fp16` or `bf16`, which the teacher works in too.
        teachers: with their weights and normalisation, on the CPU.
        data: what tells the training images from others.
    """
    fields = {name: getattr(recipe, name) for name in SHAPE_THE_IMAGES}
    if recipe.mixes or recipe.augmentation_repeats > 1:
        fields["total_train_batch_size"] = recipe.total_train_batch_size  # partners, and repeats, are within a step
    return {"teacher": _hash_of(teachers), "mixed_precision": precision, **data, **fields}


def cache_bytes(recipe: Recipe, precision: str | None, num_images: int, num_labels: int) -> int:
    """
    Of the whole cache. Several teachers are averaged in float32.

    Args:
        precision: `no`, or None for any that takes 2 bytes a number.
    """
    width = 4 if precision == "no" or len(recipe.teachers) > 1 else 2
    return recipe.drawn_epochs * (_HEADER + num_images * (4 + width * num_labels))


def require_room(folder: Path, needed: int) -> None:
    """
    Raises:
        UserError: the disk has less room than a cache of so many bytes will take, beside what is there of it.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    there = sum(512 * path.stat().st_blocks for path in folder.glob("epoch-*.npy"))
    free = shutil.disk_usage(place).free
    if needed - there > free:
        raise UserError(
            f"teacher_cache {folder} will take {needed / 1e9:,.1f} GB, and its disk has {free / 1e9:,.1f} GB free: "
            "choose another place, or keep fewer epochs by --distinct_epochs"
        )


def _hold(folder: Path, made_for: dict[str, Any]) -> None:
    record = folder / MADE_FOR
    made_for = json.loads(json.dumps(made_for))
    if any(folder.glob("epoch-*.npy")):
        try:
            there = json.loads(record.read_text(encoding="utf-8"))
            names = [name for name in {**made_for, **there} if there.get(name) != made_for.get(name)]
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"teacher_cache {folder} does not say what it was made for ({in_one_line(error)}): choose another "
                "folder, or remove it"
            ) from error
        if names:
            differences = ", ".join(f"{name}: {there.get(name)} -> {made_for.get(name)}" for name in names)
            raise UserError(
                f"teacher_cache {folder} was made for something else ({differences}): choose another folder, or "
                "remove it"
            )
        return
    require_writable(folder, "teacher_cache")
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{MADE_FOR}.{uuid4().hex}"  # each process its own
    unfinished.write_text(json.dumps(made_for, indent=1) + "\n", encoding="utf-8")
    sync(unfinished)
    unfinished.replace(record)


def _hash_of(module: nn.Module) -> str:
    """SHA-256 of a module's structure and weights, the first 16 digits."""
    found = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        found.update(name.encode())
        found.update(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    return found.hexdigest()[:16]


def _checks(logits: np.ndarray, indices: list[int]) -> np.ndarray:
    """One number for each row and its image, never 0, which is what a disk has where nothing was written."""
    pairs = zip(np.ascontiguousarray(logits), indices)
    return np.array([zlib.crc32(row, index) or 1 for row, index in pairs], dtype=np.uint32)


def _header(rows_type: np.dtype, num_rows: int) -> bytes:
    """Of an `.npy` file, padded to `_HEADER` bytes, so that every process knows where the rows begin."""
    described = {"descr": np.lib.format.dtype_to_descr(rows_type), "fortran_order": False, "shape": (num_rows,)}
    text = repr(described).encode().ljust(_HEADER - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
