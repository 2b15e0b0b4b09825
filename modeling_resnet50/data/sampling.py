"""
Which image is seen when: pure functions of the seed and the epoch, and of nothing else.

A sample travels to the workers as `(epoch, index)`, because a persistent worker never hears of a new epoch; where
images are repeated, as `(epoch, index, repeat)`. Any process can therefore compute what any other sees, and a run can
be continued from two integers.
"""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


def epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    """The order of the images in one epoch: a permutation, int64, `(num_images,)`."""
    return np.random.default_rng((seed, epoch)).permutation(num_images)


def repeated_order(seed: int, epoch: int, num_images: int, repeats: int, total_batch_size: int) -> np.ndarray:
    """
    Repeated augmentation (Berman et al. 2019; Hoffer et al. 2019): the first images of the epoch's order, each
    `repeats` times in the same total batch, `(num_images, 2)` of index and repeat.

    What is in a total batch is what timm's and torchvision's samplers put there. Within it the order is random, so
    that a process does not get an image and its repeats side by side.
    """
    order = np.repeat(epoch_order(seed, epoch, num_images), repeats)[:num_images]
    samples = np.stack([order, np.arange(num_images) % repeats], axis=1)
    rng = np.random.default_rng((seed, epoch, 2))
    for start in range(0, num_images, total_batch_size):
        rng.shuffle(samples[start : start + total_batch_size])
    return samples


def sample_seed(seed: int, epoch: int, index: int, repeat: int = 0) -> int:
    """Seed for the augmentation of one image in one epoch, 64 bits."""
    return int(np.random.SeedSequence((seed, epoch, index, repeat)).generate_state(1, np.uint64)[0])


class TrainSampler(Sampler):
    """
    One process's share of an epoch, as lists of `(epoch, index)`, one list per forward pass.

    Each optimizer step takes the next `total_batch_size` images of the epoch's order; its first
    `total_batch_size / gradient_accumulation_steps` go to the first forward pass, where process 0 takes the first
    part, process 1 the second, and so on. So two processes see what one process with two accumulation steps sees.
    Images that do not fill a last batch are left out; which ones, changes with every epoch.

    Set `epoch` before iterating; and `start_batch`, to leave out the batches of the epoch that are already done.

    With `repeats`, lists of `(epoch, index, repeat)`: see `repeated_order`.
    """

    def __init__(
        self,
        num_images: int,
        total_batch_size: int,
        seed: int,
        gradient_accumulation_steps: int = 1,
        process_index: int = 0,
        num_processes: int = 1,
        repeats: int = 1,
    ):
        self.num_images = num_images
        self.total_batch_size = total_batch_size
        self.seed = seed
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.process_index = process_index
        self.num_processes = num_processes
        self.repeats = repeats
        self.epoch = 0
        self.start_batch = 0

    def __len__(self) -> int:
        """Batches of the whole epoch, wherever it starts."""
        return self.num_images // self.total_batch_size * self.gradient_accumulation_steps

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        used = self.num_images // self.total_batch_size * self.total_batch_size
        if self.repeats == 1:
            order = epoch_order(self.seed, self.epoch, self.num_images)[:used, None]
        else:
            order = repeated_order(self.seed, self.epoch, self.num_images, self.repeats, self.total_batch_size)[:used]
        shares = order.reshape(len(self), self.num_processes, -1, order.shape[1])
        for samples in shares[self.start_batch :, self.process_index].tolist():
            yield [(self.epoch, *sample) for sample in samples]


class EvaluationSampler(Sampler):
    """One process's share of the images, in order, each exactly once; the last list may be shorter."""

    def __init__(self, num_images: int, batch_size: int, process_index: int = 0, num_processes: int = 1):
        self.indices = range(process_index, num_images, num_processes)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for start in range(0, len(self.indices), self.batch_size):
            yield [(0, index) for index in self.indices[start : start + self.batch_size]]
