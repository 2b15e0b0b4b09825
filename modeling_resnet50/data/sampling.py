"""
Which image is seen when: pure functions of the seed and the epoch, and of nothing else.

A sample travels to the workers as `(epoch, index)`, because a persistent worker never hears of a new epoch; where
images are repeated, as `(epoch, index, repeat)`. Any process can therefore compute what any other sees, and a run can
be continued from two integers.
"""

from collections.abc import Collection, Iterator

import numpy as np
from torch.utils.data import Sampler

from resnet50_recipe.errors import UserError


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


def balanced_order(seed: int, epoch: int, labels: np.ndarray, power: float) -> np.ndarray:
    """
    An epoch with as many images as ever, of which each class has a share that goes with the number of its images to
    the power: 0 gives each class as many as any other, 0.5 is the square root, 1 what there is. No image of a class
    comes once more before all of them have come equally often; which ones then do, changes with every epoch.

    Args:
        labels: int64 `(images,)`.

    Returns:
        int64 `(images, 2)` of index and repeat, by which an image's augmentation differs from one time to the next.
    """
    rng = np.random.default_rng((seed, epoch, 3))
    counts = np.bincount(labels)
    shares = np.where(counts > 0, counts.astype(float) ** power, 0)
    wanted = len(labels) * shares / shares.sum()
    drawn = np.floor(wanted + 1e-9).astype(np.int64)
    behind = np.where(counts > 0, np.round(wanted - drawn, 9), -1)
    # Of classes that are as far behind as others, chance takes some.
    drawn[np.lexsort((rng.random(len(counts)), -behind))[: len(labels) - drawn.sum()]] += 1

    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, shuffled within each
    place = np.arange(len(labels)) - np.repeat(np.cumsum(drawn) - drawn, drawn)
    label = np.repeat(np.arange(len(counts)), drawn)
    first = np.cumsum(counts) - counts
    samples = np.stack([order[first[label] + place % counts[label]], place // counts[label]], axis=1)
    return rng.permutation(samples)


def sample_seed(seed: int, epoch: int, index: int, repeat: int = 0) -> int:
    """Seed for the augmentation of one image in one epoch, 64 bits."""
    return int(np.random.SeedSequence((seed, epoch, index, repeat)).generate_state(1, np.uint64)[0])


def held_out(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """
    Which images of a split are held out to judge by: of each class at least one, and not all; where there are more,
    within one image of the share, and over all classes as close to it as that allows.

    Args:
        labels: int64 `(images,)`, each class with at least 2 images or none.
        share: above 0 and below 1.
        seed: decides which images of a class.

    Returns:
        bool `(images,)`.
    """
    counts = np.bincount(labels)
    held = np.clip(np.floor(share * counts).astype(np.int64), np.minimum(counts, 1), np.maximum(counts - 1, 0))
    missing = round(share * len(labels)) - int(held.sum())
    behind = share * counts - held
    behind[held >= counts - 1] = -1
    held[np.argsort(-behind, kind="stable")[: np.clip(missing, 0, (behind > 0).sum())]] += 1

    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, shuffled within each
    first = np.cumsum(counts) - counts
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[order] = np.arange(len(labels)) - first[labels[order]] < held[labels[order]]
    return chosen


def sample_rows(labels: np.ndarray, number: int, seed: int) -> np.ndarray:
    """
    So many images of a split, drawn at random: at least one of each class, and the classes in their shares.

    Args:
        labels: int64 `(images,)`.
        number: at least the number of classes, at most that of images.
        seed: decides which images of a class.

    Returns:
        Their rows, int64 `(number,)`, ascending.
    """
    counts = np.bincount(labels)
    order = np.random.default_rng((seed, 1)).permutation(len(labels))  # not the order that `held_out` cuts
    order = order[np.argsort(labels[order], kind="stable")]
    place = np.arange(len(labels)) - (np.cumsum(counts) - counts)[labels[order]]  # of each image within its class
    turn = np.where(place == 0, 0, (place + 0.5) / counts[labels[order]])
    return np.sort(order[np.argsort(turn, kind="stable")[:number]])


def class_balanced(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """
    Images of all classes alike: one of each class, then a second one, and so on until there are enough.

    Args:
        labels: int64 `(images,)`.
        count: how many to choose; all images, if there are no more.
        seed: decides which images of a class, and which classes come last.

    Returns:
        Indices, int64, in no order of classes.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, starts, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    turn = np.empty(len(labels), dtype=np.int64)
    turn[by_class] = np.arange(len(labels)) - np.repeat(starts, sizes)
    return order[np.argsort(turn[order], kind="stable")][:count]


class EpochSampler(Sampler):
    """
    Batches of an epoch for one process, one per forward pass, from any place of the epoch on.

    Args:
        num_images: in all.
        total_batch_size: images per optimizer step.
        seed: the run's seed.
        gradient_accumulation_steps: forward passes per optimizer step.
        process_index, num_processes: whose share this is.

    Attributes:
        epoch: the one that `start` was told.
        layout: whatever else the order of the images depends on; to be kept with the place in the epoch.
    """

    def __init__(
        self,
        num_images: int,
        total_batch_size: int,
        seed: int,
        gradient_accumulation_steps: int = 1,
        process_index: int = 0,
        num_processes: int = 1,
    ):
        self.num_images = num_images
        self.total_batch_size = total_batch_size
        self.seed = seed
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.process_index = process_index
        self.num_processes = num_processes
        self.layout: list[int] = []
        self.start(0)

    def start(self, epoch: int, images: int = 0, left_out: Collection[int] = (), layout: list[int] | None = None):
        """
        Say what the next iteration is to give.

        Args:
            epoch: decides the order.
            images: of this epoch, over all processes, that are done: whole optimizer steps.
            left_out: optimizer steps to pass over, each by the number of images before it.
            layout: the attribute of the sampler that gave the first images.

        Raises:
            UserError: `images` are no whole number of steps.
        """
        if images % self.total_batch_size:
            raise UserError(
                f"{images} images of the epoch are done, which no steps of {self.total_batch_size} come to: with "
                "another total_train_batch_size, resume from a checkpoint at the end of an epoch"
            )
        self.epoch = epoch
        self._steps_done = images // self.total_batch_size
        self._left_out = {before // self.total_batch_size for before in left_out}

    def __len__(self) -> int:
        """Batches of the whole epoch, wherever it starts."""
        return self.num_images // self.total_batch_size * self.gradient_accumulation_steps

    @property
    def images_per_epoch(self) -> int:
        """Those that fill whole total batches."""
        return self.num_images // self.total_batch_size * self.total_batch_size

    @property
    def steps_done(self) -> int:
        """Of the optimizer, before the next iteration begins."""
        return self._steps_done

    def images_after(self, batch_number: int) -> int:
        """Images of the epoch that are done, over all processes, after the last batch of a step."""
        return (batch_number + 1) // self.gradient_accumulation_steps * self.total_batch_size

    def place_of(self, batch_number: int) -> tuple[int, int]:
        """The epoch, and the place in its order, of the first image of this process's batch."""
        batch_size = self.total_batch_size // (self.gradient_accumulation_steps * self.num_processes)
        return self.epoch, (batch_number * self.num_processes + self.process_index) * batch_size

    def batch_numbers(self) -> list[int]:
        """Those that the next iteration gives, counted from 0 through the whole epoch."""
        passes = self.gradient_accumulation_steps
        return [n for n in range(self._steps_done * passes, len(self)) if n // passes not in self._left_out]


class TrainSampler(EpochSampler):
    """
    One process's share of an epoch, as lists of `(epoch, index)`, one list per forward pass.

    Each optimizer step takes the next `total_batch_size` images of the epoch's order; its first
    `total_batch_size / gradient_accumulation_steps` go to the first forward pass, where process 0 takes the first
    part, process 1 the second, and so on. So two processes see what one process with two accumulation steps sees.
    Images that do not fill a last batch are left out; which ones, changes with every epoch.

    With `repeats`, or with `labels`, lists of `(epoch, index, repeat)`: see `repeated_order` and `balanced_order`.

    Args:
        labels: of the images, where the classes are to have other shares of an epoch than of the images.
        power: says which.
    """

    def __init__(self, *args, repeats: int = 1, labels: np.ndarray | None = None, power: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.repeats, self.labels, self.power = repeats, labels, power

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        used = self.images_per_epoch
        if self.labels is not None:
            order = balanced_order(self.seed, self.epoch, self.labels, self.power)[:used]
        elif self.repeats == 1:
            order = epoch_order(self.seed, self.epoch, self.num_images)[:used, None]
        else:
            order = repeated_order(self.seed, self.epoch, self.num_images, self.repeats, self.total_batch_size)[:used]
        shares = order.reshape(len(self), self.num_processes, -1, order.shape[1])
        for number in self.batch_numbers():
            yield [(self.epoch, *sample) for sample in shares[number, self.process_index].tolist()]


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
