"""
Whether images come as fast as the GPU takes them: train.py itself on JPEG files, as they are and packed.

    python -m benchmarks.gpu.fed --data FOLDER --out FOLDER [--dry_run]

FOLDER/imagenet_samples/*.parquet are photographs; each stands in the data set many times, by links to its file. The
GPU is idle between two CUDA events around the wait for a batch, as far as it has finished all that came before.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from modeling_resnet50.data.pipeline import load_training_data
from resnet50_recipe.cores import available_cores

from ..train_script import run_train_script
from .record import Record


CLASSES = 10
SKIPPED = 10  # batches, until all workers have begun


class Watched:
    """The DataLoader of the run, with a mark before and after each wait for a batch: on a GPU, CUDA events."""

    def __init__(self, loader: Any, on_gpu: bool):
        self.loader, self.on_gpu = loader, on_gpu
        self.num_workers, self.pin_memory = loader.num_workers, loader.pin_memory
        self.waits: list[tuple[Any, Any]] = []

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        batches = iter(self.loader)
        while True:
            asked = self._mark()
            batch = next(batches, None)
            self.waits.append((asked, self._mark()))
            if batch is None:
                return
            yield batch

    def _mark(self) -> Any:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def results(self, batch_size: int) -> dict[str, float]:
        """Images per second, and the share of time in which the GPU had work."""
        if self.on_gpu:
            torch.cuda.synchronize()
        waits = self.waits[SKIPPED:] if len(self.waits) > 2 * SKIPPED else self.waits
        first, last = waits[0][1], waits[-1][1]
        seconds = first.elapsed_time(last) / 1000 if self.on_gpu else last - first
        waited = sum(a.elapsed_time(b) / 1000 if self.on_gpu else b - a for a, b in waits[1:])
        return {
            "images_per_second": round(batch_size * (len(waits) - 1) / seconds, 1),
            "busy": round(1 - waited / seconds, 4),
            "intervals": len(waits) - 1,  # between batches
        }


def photographs(folder: Path) -> list[bytes]:
    """As JPEG files."""
    files = sorted(folder.glob("*.parquet"))
    return [row["bytes"] for file in files for row in pq.read_table(file, columns=["image"])["image"].to_pylist()]


def packed(photo: bytes) -> bytes:
    """As `prepare --pack` writes it: short side 256, quality 90."""
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    scale = 256 / min(image.size)
    if scale < 1:
        image = image.resize([round(scale * side) for side in image.size], Image.Resampling.BICUBIC, reducing_gap=None)
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=90)
    return buffer.getvalue()


def image_folder(photos: list[bytes], count: int, folder: Path) -> Path:
    """train/CLASS with so many links to the photographs' files, and val/CLASS with a few."""
    originals = []
    for number, photo in enumerate(photos):
        originals.append(folder / "originals" / f"{number}.jpg")
        originals[-1].parent.mkdir(parents=True, exist_ok=True)
        originals[-1].write_bytes(photo)
    root = folder / "images"
    for part, rows in (("train", count), ("val", 2 * CLASSES)):
        for row in range(rows):
            path = root / part / f"class{row % CLASSES}" / f"{row}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(originals[row % len(originals)], path)
    return root


def train(images: Path, **fields: Any) -> dict[str, float]:
    """One epoch of train.py, in this process."""
    watched: list[Watched] = []

    def load(*arguments: Any) -> Any:
        data = load_training_data(*arguments)
        watched.append(Watched(data.train_loader.loader, data.train_loader.device.type == "cuda"))
        data.train_loader.loader = watched[0]  # type: ignore[assignment]
        return data

    with tempfile.TemporaryDirectory() as output_dir:
        fields = {"dataset_name": images, "num_train_epochs": 1, "warmup_epochs": 0.0,
                  "output_dir": f"{output_dir}/run", **fields}  # fmt: skip
        run_train_script(load, fields)
    return watched[0].results(int(fields["total_train_batch_size"]))


def decoded_on_gpu(photos: list[bytes], rounds: int = 5) -> dict[str, float]:
    """torchvision's nvJPEG, whole images, in batches of all photographs."""
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = [torch.from_numpy(np.frombuffer(photo, np.uint8).copy()) for photo in photos]
    seconds = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        begun_at = time.perf_counter()
        decode_jpeg(encoded, device="cuda", mode=ImageReadMode.RGB)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun_at)
    return {
        "images_per_second": round(len(photos) / sorted(seconds[1:])[rounds // 2], 1),
        "first": round(seconds[0], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=90, help="no further part is begun after so long")
    parser.add_argument("--dry_run", action="store_true", help="on the CPU, at toy size")
    options = parser.parse_args()
    begun_at = time.monotonic()
    record = Record(options.out / "fed.json")
    photos = photographs(options.data / "imagenet_samples")
    batch_size, steps = (4, 3) if options.dry_run else (256, 70)
    small: dict[str, Any] = {"config_overrides": {"depths": [1], "hidden_sizes": [8], "embedding_size": 8}}
    # The labels are made up: nothing is to be learnt, and nothing to go wrong.
    common: dict[str, Any] = {
        "learning_rate": 1e-4,
        "total_train_batch_size": batch_size,
        "mixed_precision": "no" if options.dry_run else "fp16",
    }
    if options.dry_run:
        photos = photos[:4]
        common |= {**small, "dataloader_num_workers": 1}
    record.put("cores", available_cores())
    record.put("photographs", {"count": len(photos), "bytes": sum(map(len, photos)) // len(photos)})
    with tempfile.TemporaryDirectory() as folder:
        folders = {
            "packed": image_folder([packed(photo) for photo in photos], steps * batch_size, Path(folder) / "packed"),
            "raw": image_folder(photos, steps * batch_size, Path(folder) / "raw"),
        }
        runs: dict[str, tuple[str, dict[str, Any]]] = {
            "packed, 224 pixels": ("packed", {"image_size": 224}),
            "raw, 224 pixels": ("raw", {"image_size": 224}),
            "packed, 160 pixels": ("packed", {"image_size": 160}),
            "raw, 160 pixels": ("raw", {"image_size": 160}),
            # As fast as the images come, whatever the GPU could do.
            "packed, 224 pixels, a network of almost nothing": ("packed", {"image_size": 224, **small}),
            "raw, 224 pixels, a network of almost nothing": ("raw", {"image_size": 224, **small}),
        }
        for name, (which, fields) in list(runs.items())[: 2 if options.dry_run else None]:
            if time.monotonic() - begun_at > options.seconds:
                record.put(f"left out: {name}", "no time was left")
                continue
            size = {"image_size": 32} if options.dry_run else {}
            started_at = time.monotonic()
            found = train(folders[which], **{**common, **fields, **size})
            record.put(name, found | {"seconds": round(time.monotonic() - started_at, 1)})
    if not options.dry_run:
        record.put("nvJPEG, whole images", decoded_on_gpu(photos))
        record.put("nvJPEG, whole images, packed", decoded_on_gpu([packed(photo) for photo in photos]))


if __name__ == "__main__":
    main()
