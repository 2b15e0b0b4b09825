"""From a `datasets.Dataset` to batches on the device, ready for `model(**batch)`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from ..errors import UserError
from .sampling import sample_seed
from .transforms import decode_image


class ImageBatches(torch.utils.data.Dataset):
    """
    Decodes and transforms a batch of images in one call, each with random numbers of its own.

    Args:
        dataset: columns `image` and `label`, as the loaders of `sources` give it.
        transform: uint8 pixels `(3, height, width)` to uint8 pixels of one common size. Whatever it draws from
            PyTorch's global generator is a pure function of (seed, epoch, index).
        seed: the run's seed.
    """

    def __init__(self, dataset: Dataset, transform: nn.Module, seed: int = 0):
        self.images = dataset.select_columns("image")
        self.labels = np.asarray(dataset["label"][:], dtype=np.int64)
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, samples: list[tuple[int, int]]) -> dict[str, Tensor] | UserError:
        """
        Args:
            samples: `(epoch, index)` of each image.

        Returns:
            `pixel_values` uint8 `(batch, 3, height, width)` and `labels` int64 `(batch,)`. An unreadable image comes
            back as the error, not raised: a DataLoader would bury it in the worker's traceback.
        """
        indices = [index for _, index in samples]
        rows = self.images[indices]["image"]
        pixel_values = None
        with torch.random.fork_rng(devices=[]):  # without workers this is the training process: leave its state alone
            for position, ((epoch, index), row) in enumerate(zip(samples, rows)):
                try:
                    data = row["bytes"] if row["bytes"] is not None else Path(row["path"]).read_bytes()
                    pixels = decode_image(data)
                except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                    where = f"{row['path']} (row {index})" if row["path"] else f"row {index}"
                    return UserError(f"unreadable image: {where}: {error}")
                torch.default_generator.manual_seed(sample_seed(self.seed, epoch, index))
                pixels = self.transform(pixels)
                if pixel_values is None:
                    pixel_values = torch.empty(
                        (len(samples), *pixels.shape), dtype=torch.uint8, memory_format=torch.channels_last
                    )
                pixel_values[position] = pixels
        return {"pixel_values": pixel_values, "labels": torch.from_numpy(self.labels[indices])}


class DeviceLoader:
    """
    Iterates over normalised batches on the device.

    Images cross to the device as uint8, a quarter of the bytes, and become floats there. The loader is not handed to
    `Accelerator.prepare`: the sampler already gives each process its own share, without duplicates.

    Args:
        batches: what to load.
        sampler: lists of `(epoch, index)`, this process's share.
        device: where the batches go.
        image_mean, image_std: per channel, for pixels in [0, 1].
        num_workers: processes that decode; 0 decodes in this one.

    Yields:
        `pixel_values` float32 `(batch, 3, height, width)`, channels last, and `labels` int64 `(batch,)`.
    """

    def __init__(
        self,
        batches: ImageBatches,
        sampler: Sampler,
        device: torch.device,
        image_mean: list[float],
        image_std: list[float],
        num_workers: int = 0,
    ):
        self.sampler = sampler
        self.device = device
        self.mean = torch.tensor(image_mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(image_std, device=device).view(3, 1, 1)
        self.loader = DataLoader(
            batches,
            batch_sampler=sampler,
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=device.type == "cuda",
            # Otherwise every new iterator draws a seed from the global generator, and a resumed run draws fewer.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for batch in self.loader:
            if isinstance(batch, UserError):
                raise batch
            pixels = batch["pixel_values"].to(self.device, non_blocking=True).float().div_(255)
            yield {
                "pixel_values": pixels.sub_(self.mean).div_(self.std),
                "labels": batch["labels"].to(self.device, non_blocking=True),
            }


def _as_it_is(batch):
    """`__getitems__` has already made a batch of it."""
    return batch
