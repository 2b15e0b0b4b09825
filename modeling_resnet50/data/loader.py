"""From a `datasets.Dataset` to batches on the device, ready for `model(**batch)`."""

import ctypes
import hashlib
import math
import multiprocessing
import os
import random
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from resnet50_recipe.errors import UserError

from .decoding import EncodedImage, encoded_bytes, stored_path
from .mixing import Mixing
from .preprocessing import ExifOrientation
from .sampling import EpochSampler, sample_seed
from .transforms import ImageTransform, normalize


if TYPE_CHECKING:  # a second of imports: not everything that is fed has a data set
    from datasets import Dataset

_LOOKED_AT = 256  # images, to tell a data set from another
MAX_BAD_IN_A_ROW = 100  # beyond this it is not the images that are wrong
PREFETCH_FACTOR = 2  # batches that each worker may be ahead: PyTorch's default
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
SHARED_MEMORY = Path("/dev/shm")  # where PyTorch has it on Linux; a container's is 64 MB unless told otherwise


class ImageBatches(torch.utils.data.Dataset):
    """
    Decodes and transforms a batch of images in one call, each with random numbers of its own.

    Args:
        dataset: columns `image` and `label`, as the loaders of `sources` give it.
        transform: whatever it draws from the global generators of PyTorch, NumPy and Python is a pure function of
            (seed, epoch, index).
        seed: the run's seed.
        on_bad_image: what to do about an unreadable image: "error" stops, "skip" takes the next readable one instead.
        jpeg_decoder, num_channels, exif_orientation: as in `EncodedImage`.
    """

    _buffers: "_SharedBuffers | None" = None  # a worker's

    def __init__(
        self,
        dataset: "Dataset",
        transform: ImageTransform,
        seed: int = 0,
        on_bad_image: Literal["error", "skip"] = "error",
        jpeg_decoder: Literal["simplejpeg", "nvimgcodec"] = "simplejpeg",
        num_channels: int = 3,
        exif_orientation: ExifOrientation = "apply",
    ):
        self.images, self.labels = self._columns_of(dataset)
        self.transform = transform
        self.seed = seed
        self.on_bad_image = on_bad_image
        self.jpeg_decoder = jpeg_decoder
        self.num_channels = num_channels
        self.exif_orientation: ExifOrientation = exif_orientation

    def _columns_of(self, dataset: Any) -> tuple[Any, np.ndarray]:
        """Rows by number, as of an `Image(decode=False)` column; and labels, int64."""
        return dataset.select_columns("image"), np.asarray(dataset["label"][:], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def identity(self) -> str:
        """What tells these images from others: 16 digits of a hash of all labels and of some images from all over."""
        found = hashlib.sha256(self.labels.tobytes())
        for index in np.linspace(0, len(self) - 1, _LOOKED_AT).astype(int):
            with suppress(OSError, ValueError):  # one that cannot be read is met when it is trained on
                found.update(encoded_bytes(self.images[int(index)]["image"]))
        return found.hexdigest()[:16]

    def __getitems__(self, samples: list[tuple[int, ...]]) -> dict[str, Any] | UserError:
        """
        Args:
            samples: `(epoch, index)` or `(epoch, index, repeat)` of each image, all of one epoch.

        Returns:
            `pixel_values` uint8 `(batch, num_channels, height, width)`, channels last, which a worker writes to again
            after `PREFETCH_FACTOR` more batches; `labels`, int64 `(batch,)`; `indices`, the rows; and `bad_images`,
            what was wrong with each image that another one stands in for. Under "error", an unreadable image comes
            back as the error, not raised: a DataLoader would bury it in the worker's traceback.
        """
        indices = [index for _, index, *_ in samples]
        rows = self.images[indices]["image"]
        pixel_values = None
        bad_images = []
        with _generators_restored():  # without workers this is the training process
            # First all that is small: between two images that are decoded, it would find no cache warm.
            begun = [self._begin(row, *sample) for row, sample in zip(rows, samples)]
            for position, image in enumerate(begun):
                pixels = self._finish(image)
                if isinstance(pixels, UserError):
                    if self.on_bad_image == "error":
                        return pixels
                    bad_images.append(str(pixels))
                    substitute = self._next_readable(*samples[position])
                    if isinstance(substitute, UserError):
                        return substitute
                    indices[position], pixels = substitute
                if pixel_values is None:
                    pixel_values = self._new_batch(len(samples), *pixels.shape)
                pixel_values[position] = pixels
        return {
            "pixel_values": pixel_values,
            "labels": torch.from_numpy(self.labels[indices]),
            "indices": indices,
            "bad_images": bad_images,
        }

    def _new_batch(self, *shape: int) -> Tensor:
        if torch.utils.data.get_worker_info() is None:
            return torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
        if self._buffers is None:
            self._buffers = _SharedBuffers()
        return self._buffers.next(*shape)

    def _begin(self, row: dict[str, Any], epoch: int, index: int, repeat: int = 0) -> "_Begun | UserError":
        path = stored_path(row)
        name = f"{path} (row {index})" if path else f"row {index}"
        try:
            image = EncodedImage(row, name, self.jpeg_decoder, self.num_channels, self.exif_orientation)
        except UserError as error:
            return error
        seed = sample_seed(self.seed, epoch, index, repeat)
        torch.default_generator.manual_seed(seed)
        return _Begun(seed, self.transform.begin(image, epoch))

    def _finish(self, begun: "_Begun | UserError") -> Tensor | UserError:
        if isinstance(begun, UserError):
            return begun
        _seed_generators(begun.seed)
        try:
            return begun.rest()
        except UserError as error:
            return error

    def _next_readable(self, epoch: int, index: int, repeat: int = 0) -> tuple[int, Tensor] | UserError:
        """The image that stands in for an unreadable one, and its pixels: the same one in every run."""
        for step in range(1, MAX_BAD_IN_A_ROW + 1):
            substitute = (index + step) % len(self)
            pixels = self._finish(self._begin(self.images[substitute]["image"], epoch, substitute, repeat))
            if not isinstance(pixels, UserError):
                return substitute, pixels
        return UserError(f"row {index} and the {MAX_BAD_IN_A_ROW} after it are all unreadable images")


class _SharedBuffers:
    """
    Memory for batches that a worker shares with the training process, used in turns: a batch is where it has to be
    when it is made, and its pages are not new. The worker is asked for another batch when one of its batches is taken:
    it is never more than `PREFETCH_FACTOR` ahead of the one in use.
    """

    def __init__(self) -> None:
        self._buffers = [torch.empty(0, dtype=torch.uint8)] * (PREFETCH_FACTOR + 1)
        self._turn = 0

    def next(self, batch_size: int, channels: int, height: int, width: int) -> Tensor:
        """uint8 `(batch_size, channels, height, width)`, channels last."""
        self._turn = (self._turn + 1) % len(self._buffers)
        size = batch_size * height * width * channels
        if len(self._buffers[self._turn]) < size:
            self._buffers[self._turn] = torch.empty(size, dtype=torch.uint8).share_memory_()
        return self._buffers[self._turn][:size].view(batch_size, height, width, channels).permute(0, 3, 1, 2)


def check_shared_memory(num_workers: int, worker_bytes: int) -> None:
    """
    Args:
        num_workers: of this process.
        worker_bytes: of the batches that each of them holds, by `shared_bytes`.

    Raises:
        UserError: there is less than the workers of all processes on this machine need.
    """
    if num_workers == 0 or not SHARED_MEMORY.is_dir():
        return
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    free, needed = shutil.disk_usage(SHARED_MEMORY).free, processes * num_workers * worker_bytes
    if needed > free:
        raise UserError(
            f"{processes * num_workers} data workers share {needed / 1e6:,.0f} MB with the training process, but "
            f"{SHARED_MEMORY} has {free / 1e6:,.0f} MB free: start the container with "
            f"--shm-size={math.ceil(2 * needed / 1e9)}g or --ipc=host, or give --dataloader_num_workers "
            f"{free // (processes * worker_bytes)} (for resnet50 evaluate, --num_workers)"
        )


def shared_bytes(batch_size: int, image_size: int, num_channels: int = 3) -> int:
    """Of the batches that one worker shares with the training process."""
    return (PREFETCH_FACTOR + 1) * batch_size * num_channels * image_size**2


@dataclass(frozen=True)
class _Begun:
    """An image that is not decoded yet: its seed, and what is left to do."""

    seed: int
    rest: Callable[[], Tensor]


@contextmanager
def _generators_restored() -> Iterator[None]:
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(python_state)
    np.random.set_state(numpy_state)


def _seed_generators(seed: int) -> None:
    """torchvision draws from PyTorch's global generator, timm from Python's and NumPy's."""
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


SamplerType = TypeVar("SamplerType", bound=Sampler)


class DeviceLoader(Generic[SamplerType]):
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
        max_bad_images: how many unreadable images one pass may replace.
        mixing: mixup and CutMix, if any.

    Attributes:
        bad_images: what was wrong with those that were replaced in this pass, one text each.
        on_batch: called whenever a batch has come.
        normalize: from uint8 to what is yielded, on the device; by `image_mean` and `image_std` unless it is replaced.

    Yields:
        `pixel_values` float32 `(batch, channels, height, width)`, channels last; `labels` int64 `(batch,)`; `targets`
        for the loss: the labels, or with mixing `(batch, num_labels)`, and the label is then the class with most of
        it; `indices`, the rows of the images, a list; `number`, of the batch in its pass; and `bad_images`, how many
        this pass has replaced so far.
    """

    def __init__(
        self,
        batches: ImageBatches,
        sampler: SamplerType,
        device: torch.device,
        image_mean: list[float],
        image_std: list[float],
        num_workers: int = 0,
        max_bad_images: int = 0,
        mixing: Mixing | None = None,
    ):
        self.batches = batches
        self.sampler = sampler
        self.device = device
        self.mean = torch.tensor(image_mean, device=device).view(-1, 1, 1)
        self.std = torch.tensor(image_std, device=device).view(-1, 1, 1)
        self.normalize: Callable[[Tensor], Tensor] = partial(normalize, image_mean=self.mean, image_std=self.std)
        self.max_bad_images = max_bad_images
        self.bad_images: list[str] = []
        self.on_batch: Callable[[], None] = lambda: None
        self.mixing = mixing
        self.loader = DataLoader(
            batches,
            batch_sampler=sampler,
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            prefetch_factor=PREFETCH_FACTOR if num_workers else None,
            pin_memory=device.type == "cuda",  # elsewhere a copy that does not block may read what is written later
            worker_init_fn=_obey_only_the_training_process,
            # Otherwise every new iterator draws a seed from the global generator, and a resumed run draws fewer.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.bad_images = []
        numbers = self.sampler.batch_numbers() if isinstance(self.sampler, EpochSampler) else range(len(self))
        for batch, number in zip(loaded(self.loader), numbers):
            self.on_batch()
            if isinstance(batch, UserError):
                raise batch
            self.bad_images += batch["bad_images"]
            if len(self.bad_images) > self.max_bad_images:
                raise UserError(
                    f"more unreadable images than max_bad_images allows ({self.max_bad_images}); the last is an "
                    + self.bad_images[-1]
                )
            pixel_values, labels = (
                batch[name].to(self.device, non_blocking=self.loader.pin_memory) for name in ("pixel_values", "labels")
            )
            pixels, targets = self.normalize(pixel_values), labels
            if self.mixing is not None:
                assert isinstance(self.sampler, EpochSampler)
                pixels, targets = self.mixing(pixels, labels, self.sampler.epoch, number)
                labels = targets.argmax(-1)
            yield {
                "pixel_values": pixels,
                "labels": labels,
                "targets": targets,
                "indices": batch["indices"],
                "number": number,
                "bad_images": len(self.bad_images),
            }


def loaded(loader: DataLoader) -> Iterator[Any]:
    """
    What a DataLoader loads, from workers that begin now.

    Raises:
        UserError: shared memory has run out.
        RuntimeError: a worker was killed. PyTorch raises one for that too, unless it is fetching a batch from it.
    """
    return _loaded(iter(loader), loader.num_workers)


def _loaded(batches: Iterator[Any], num_workers: int) -> Iterator[Any]:
    try:
        yield from batches
    except (EOFError, ConnectionError) as error:
        if num_workers == 0 or "in DataLoader worker process" in str(error):
            raise  # by what reads the images
        raise RuntimeError(
            "a DataLoader worker was killed, most often because memory ran out (the kernel's log says so): fewer "
            "workers need less"
        ) from error
    except RuntimeError as error:
        # In PyTorch's words, the worker's own or those on its bus error.
        if "allocate shared memory" not in str(error) and "out of shared memory" not in str(error):
            raise
        raise UserError(
            f"the data workers' shared memory ({SHARED_MEMORY}) is full: start the container with a larger --shm-size "
            "or with --ipc=host, or give a smaller --dataloader_num_workers (for resnet50 evaluate, --num_workers); 0 "
            "needs none"
        ) from error


def end_with_parent(worker: int) -> None:
    """
    For a DataLoader's workers. They notice between two batches that the process that started them is gone; this ends
    one that waits for a disk as well.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    # Linux does it whatever the worker is in. It means the thread that forked: the main one is there to the end.
    if sys.platform == "linux" and os.getppid() == parent.pid and threading.current_thread().name == "MainThread":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent.pid:
            return
    threading.Thread(target=_wait_for_the_end_of, args=[parent], daemon=True).start()


def _wait_for_the_end_of(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _obey_only_the_training_process(worker: int) -> None:
    """
    Ctrl-C, schedulers and launchers signal all processes of a run. Its workers must go on: batches are needed until
    the last checkpoint is written. They end when the training process says so, by SIGTERM too, and when it is gone.
    """
    end_with_parent(worker)
    training = multiprocessing.parent_process()
    if training is None or not hasattr(signal, "sigwaitinfo"):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training.pid:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _as_it_is(batch):
    """`__getitems__` has already made a batch of it."""
    return batch
