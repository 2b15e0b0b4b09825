"""
A data set as parquet shards, images made smaller or as they are: what `datasets` memory-maps and training streams.

    data/train-00000-of-00257.parquet …   columns `image` (bytes, file name) and `label`
    README.md                             the card
    .packing.json                         how it was made

The same images and settings give the same bytes, on any number of processes.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, Features, Image
from huggingface_hub import DatasetCardData
from PIL import Image as PILImage
from torch.utils.data import Dataset as TorchDataset

from resnet50_recipe.errors import UserError

from ..data.decoding import UNREADABLE, decode_image, encoded_bytes, orientation_of, stored_path, with_orientation
from ..data.folders import standard_split_name
from ..data.sources import images_and_labels
from ..files import replaced_file
from .archives import disk_full_named, finish
from .processes import in_order
from .steps import require_space


ROWS_PER_SHARD = 5000
ROW_GROUP = 100  # rows: what streaming reads at once
# Hardly an image is there twice: of a dictionary, all would have to be read for the first one. Pages end at 1 MB, but
# only after a whole batch of values.
PARQUET: dict[str, Any] = {
    "compression": "NONE",
    "use_dictionary": ["label"],
    "write_statistics": ["label"],
    "write_batch_size": 1,
}
_SAMPLE = 50  # images that tell how large the result will be

_RECORD = ".packing.json"
_CARD = """---
{metadata}
---

# Images in parquet shards

{splits}; {classes:,} classes. {pixels}

Rows of the training split were shuffled once, so that neighbours are of different classes. Pixels belong to whoever
owns the images, and their terms go with them.

```python
from datasets import load_dataset

splits = load_dataset("FOLDER_OR_ID")  # memory-mapped; streaming=True leaves them where they are
```
"""


def pack(
    splits: DatasetDict,
    to: Path,
    *,
    short_side: int | None = 256,
    quality: int = 90,
    num_proc: int = 1,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
    seed: int = 0,
    rows_per_shard: int = ROWS_PER_SHARD,
) -> None:
    """
    Write shards, or go on with it: whole shards are kept. The folder gets its name when all of them are there.

    Args:
        splits: with an image column and a label column each.
        to: the folder. If it has been packed the same way already, nothing is done.
        short_side: images with a longer one are made so small, as JPEGs; the others keep their bytes. None:
            all do.
        quality: of those JPEGs, 1 to 95 (PIL's scale).
        num_proc: processes that read and resize.
        on_progress: called with images done and to do.
        seed: for the order of the training split. The others keep theirs.
        rows_per_shard: at most.

    Raises:
        UserError: an unreadable image; `to` holds something else, or the beginning of another packing; a full disk.
    """
    _check_settings(short_side, quality)
    splits = DatasetDict({standard_split_name(name): split for name, split in images_and_labels(splits).items()})
    record = _record(splits, short_side=short_side, quality=quality, seed=seed, rows_per_shard=rows_per_shard)
    if to.exists():
        _check_record(to, record, "delete it, or choose another place with --to")
        return
    unfinished = to.with_name(f".{to.name}.unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)
    if (unfinished / _RECORD).exists():
        _check_record(unfinished, record, "delete it, or give the same settings as before")
    else:
        with replaced_file(unfinished / _RECORD) as file:
            file.write_text(json.dumps(record, indent=1) + "\n")
    with disk_full_named(to):
        _write_shards(splits, unfinished, record, num_proc, on_progress)
        (unfinished / "README.md").write_text(_card(splits, short_side, quality))
        finish(unfinished, to)


def packed_files(folder: Path) -> dict[str, Path]:
    """
    What a packed data set consists of on the Hub, by the path there.

    Raises:
        UserError: not a packed data set.
    """
    shards = sorted(folder.glob("data/*.parquet"))
    if not shards or not (folder / _RECORD).is_file():
        raise UserError(f"{folder} is not a packed data set: resnet50 prepare folder … --pack makes one")
    return {path.relative_to(folder).as_posix(): path for path in [*shards, *folder.glob("README.md")]}


def _check_settings(short_side: int | None, quality: int) -> None:
    if short_side is not None and short_side < 1:
        raise UserError(f"--short_side must be a number of pixels or none, not {short_side}")
    if not 1 <= quality <= 95:
        raise UserError(f"--quality must be between 1 and 95, not {quality}")


def _record(splits: DatasetDict, **settings) -> dict[str, Any]:
    """What decides the bytes: two packings with the same record can be put together."""
    digest = hashlib.sha256()
    for name, split in splits.items():
        digest.update(repr((name, len(split), split.features["label"].names)).encode())
        digest.update(np.asarray(split["label"][:], dtype=np.int64).tobytes())
    return {
        **settings,
        "images": {name: len(split) for name, split in splits.items()},
        "labels_sha256": digest.hexdigest(),
        "pillow": PIL.__version__,
        "pyarrow": pa.__version__,
    }


def _check_record(folder: Path, record: dict[str, Any], advice: str) -> None:
    try:
        found = json.loads((folder / _RECORD).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} is there already, and is not a packed data set: {advice}") from None
    different = [f"{key} was {found.get(key)}, now {record[key]}" for key in record if found.get(key) != record[key]]
    if different:
        raise UserError(f"{folder} was packed differently ({'; '.join(different)}): {advice}")


def _write_shards(splits, folder: Path, record: dict[str, Any], num_proc: int, on_progress) -> None:
    """Each shard under a hidden name first, so that a shard with its name is whole."""
    (folder / "data").mkdir(exist_ok=True)
    total, done = sum(record["images"].values()), 0
    plan = []  # what is missing: dataset, rows of a shard, path
    for name, split in splits.items():
        order = np.random.default_rng(record["seed"]).permutation(len(split)) if name == "train" else range(len(split))
        shards = np.array_split(np.asarray(order), -(-len(split) // record["rows_per_shard"]))
        for number, rows in enumerate(shards):
            path = folder / "data" / f"{name}-{number:05d}-of-{len(shards):05d}.parquet"
            if _is_whole(path, len(rows)):
                done += len(rows)
            else:
                plan.append((split, rows, path))
    if not plan:
        return
    _check_space(plan, folder, record)
    packed = _packed_row_groups(plan, record, num_proc)
    for split, rows, path in plan:
        features = Features({"image": Image(), "label": split.features["label"]})
        with replaced_file(path) as unfinished:
            with pq.ParquetWriter(unfinished, features.arrow_schema, **PARQUET) as writer:
                for _ in range(-(-len(rows) // ROW_GROUP)):
                    row_group = next(packed)
                    if isinstance(row_group, UserError):
                        raise row_group
                    table = pa.Table.from_pylist(row_group, schema=features.arrow_schema)
                    writer.write_table(table, row_group_size=ROW_GROUP)
                    done += len(row_group)
                    on_progress(done, total)
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())


def _is_whole(path: Path, rows: int) -> bool:
    try:
        return pq.read_metadata(path).num_rows == rows
    except (FileNotFoundError, pa.ArrowInvalid):
        return False


def _check_space(plan, folder: Path, record: dict[str, Any]) -> None:
    missing = sum(len(rows) for _, rows, _ in plan)
    split, rows, _ = plan[0]
    sample = _RowGroups([(split, rows[:_SAMPLE])], record)[0]
    if isinstance(sample, UserError):
        raise sample
    mean = sum(len(row["image"]["bytes"]) for row in sample) / len(sample)
    require_space(folder, int(missing * mean), f"packing {missing:,} images")


def _packed_row_groups(plan, record: dict[str, Any], num_proc: int) -> Iterator[list[dict] | UserError]:
    groups = [
        (split, rows[start : start + ROW_GROUP]) for split, rows, _ in plan for start in range(0, len(rows), ROW_GROUP)
    ]
    return in_order(_RowGroups(groups, record), num_proc)


class _RowGroups(TorchDataset):
    """The rows of each row group, ready to be written. An error is returned: raised, it would lose its type."""

    def __init__(self, groups: list[tuple[Dataset, np.ndarray]], record: dict[str, Any]):
        self.groups = groups
        self.short_side, self.quality = record["short_side"], record["quality"]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, number: int) -> list[dict[str, Any]] | UserError:
        split, indices = self.groups[number]
        rows = split[indices]
        try:
            return [{"image": self._pack(image), "label": label} for image, label in zip(rows["image"], rows["label"])]
        except UserError as error:
            return error

    def _pack(self, image: dict[str, Any]) -> dict[str, Any]:
        path = stored_path(image)
        name = Path(path).name if path else None
        try:
            data = encoded_bytes(image)
            return {"bytes": data if self.short_side is None else self._resize(data), "path": name}
        except UNREADABLE as error:
            raise UserError(f"unreadable image: {path or 'one without a name'}: {error}") from error

    def _resize(self, data: bytes) -> bytes:
        # As they are stored, and the tag with them, so that every reader can still do as it does.
        _, height, width = (pixels := decode_image(data, exif_orientation="ignore")).shape
        if min(height, width) <= self.short_side:
            return data
        scale = self.short_side / min(height, width)
        size = (max(round(width * scale), self.short_side), max(round(height * scale), self.short_side))
        buffer = io.BytesIO()
        resized = PILImage.fromarray(pixels.permute(1, 2, 0).numpy()).resize(size, PILImage.Resampling.BICUBIC)
        orientation = orientation_of(data)
        exif = {} if orientation == 1 else {"exif": with_orientation(orientation)}
        resized.save(buffer, "JPEG", quality=self.quality, **exif)
        return buffer.getvalue()


def _card(splits: DatasetDict, short_side: int | None, quality: int) -> str:
    metadata = DatasetCardData(license="other", task_categories=["image-classification"])
    if short_side is None:
        pixels = "Every image has the bytes it came with."
    else:
        pixels = (
            f"Images with a short side above {short_side} pixels were reduced to that (bicubic, JPEG quality "
            f"{quality}, their EXIF orientation kept); the others have the bytes they came with."
        )
    return _CARD.format(
        metadata=metadata.to_yaml().strip(),
        splits=", ".join(f"{name}: {len(split):,}" for name, split in splits.items()),
        classes=len(next(iter(splits.values())).features["label"].names),
        pixels=pixels,
    )
