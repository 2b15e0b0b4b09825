"""The data of a run: from its recipe to two loaders, whatever the source."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from resnet50_recipe.errors import UserError
from resnet50_recipe.training_arguments import TrainingArguments

from .augmentation import TrainingTransform
from .decoding import nvimgcodec_is_installed
from .loader import DeviceLoader, check_shared_memory, shared_bytes
from .mixing import Mixing
from .preprocessing import Preprocessing
from .sampling import EpochSampler, TrainSampler
from .sources import open_train_and_validation
from .streaming import StreamedSplit, StreamSampler, evaluation_sampler, image_batches
from .transforms import EvaluationTransform


# Of the number of a class's images: what its share of an epoch goes with.
_POWER_OF = {"uniform": 1.0, "sqrt": 0.5, "balanced": 0.0}


@dataclass
class TrainingData:
    """
    What a run trains on and is judged by.

    Attributes:
        train_loader: tell `sampler.start` the epoch before it is iterated over.
        validation_loader: each image once, over all processes together.
        label_names: of the classes, in their order.
        num_train_images, num_validation_images: in all.
        class_counts: training images of each class, int64; None where to know them would be to read them.
    """

    train_loader: DeviceLoader[EpochSampler]
    validation_loader: DeviceLoader
    label_names: list[str]
    num_train_images: int
    num_validation_images: int
    class_counts: np.ndarray | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Of the optimizer."""
        sampler = self.train_loader.sampler
        return len(sampler) // sampler.gradient_accumulation_steps

    @property
    def images_per_epoch(self) -> int:
        """Over all processes together: those that fill whole steps."""
        return self.train_loader.sampler.images_per_epoch

    def steps(self, batches: Iterable[dict[str, Any]]) -> Iterator[tuple[Iterator[dict[str, Any]], int]]:
        """
        An epoch, or what is left of it, by optimizer steps: for each, the batches of its forward passes as they come,
        to be used before the next step is asked for, and how many images of the epoch are done after it, over all
        processes.

        Args:
            batches: those of `train_loader`.
        """
        sampler, batches = self.train_loader.sampler, iter(batches)
        passes = sampler.gradient_accumulation_steps
        for last in sampler.batch_numbers()[passes - 1 :: passes]:
            yield islice(batches, passes), sampler.images_after(last)


def load_training_data(
    recipe: TrainingArguments, device: torch.device, num_workers: int, process_index: int, num_processes: int
) -> TrainingData:
    """
    Args:
        recipe: names source, transforms and batch sizes.
        device: where the batches go.
        num_workers: worker processes of each loader.
        process_index, num_processes: this process's share.

    Raises:
        UserError: as `load_train_and_validation`, not a batch of training images, jpeg_decoder is not installed, or
            there is too little shared memory.
    """
    if recipe.jpeg_decoder == "nvimgcodec" and not nvimgcodec_is_installed():
        raise UserError("jpeg_decoder nvimgcodec is not installed: pip install nvidia-nvimgcodec-cu13 (or -cu12)")
    eval_batch_size = recipe.per_device_eval_batch_size or recipe.local_batch_size(num_processes)
    preprocessing = Preprocessing.from_recipe(recipe)
    largest = max(recipe.image_size, recipe.image_size_start or 0)
    held = shared_bytes(recipe.local_batch_size(num_processes), largest, recipe.num_channels)
    held += shared_bytes(eval_batch_size, preprocessing.image_size, recipe.num_channels)
    check_shared_memory(num_workers, held)
    train_set, validation_set = open_train_and_validation(recipe)
    recipe.check_fills_a_batch(len(train_set))
    share = {"process_index": process_index, "num_processes": num_processes}
    eval_sampler = evaluation_sampler(validation_set, eval_batch_size, num_workers, **share)
    loading: dict[str, Any] = {
        "device": device,
        "image_mean": recipe.image_mean,
        "image_std": recipe.image_std,
        "num_workers": num_workers,
    }
    label_names = train_set.features["label"].names
    decoding: dict[str, Any] = {"num_channels": recipe.num_channels, "exif_orientation": recipe.exif_orientation}
    train_images = image_batches(
        train_set,
        TrainingTransform(recipe),
        seed=recipe.seed,
        on_bad_image=recipe.on_bad_image,
        jpeg_decoder=recipe.jpeg_decoder,
        **decoding,
    )
    train_sampler = _train_sampler(recipe, train_set, num_workers, share)
    passes = recipe.gradient_accumulation_steps
    mixing = Mixing(recipe, len(label_names), passes, **share) if recipe.mixes else None
    return TrainingData(
        DeviceLoader(train_images, train_sampler, max_bad_images=recipe.max_bad_images, mixing=mixing, **loading),
        DeviceLoader(
            image_batches(validation_set, EvaluationTransform(preprocessing), **decoding), eval_sampler, **loading
        ),
        label_names,
        len(train_set),
        len(validation_set),
        _class_counts(recipe, train_set),
    )


def _class_counts(recipe: TrainingArguments, train_set: Dataset | StreamedSplit) -> np.ndarray | None:
    num_labels = len(train_set.features["label"].names)
    if not isinstance(train_set, StreamedSplit):
        return np.bincount(_labels_of(train_set), minlength=num_labels)
    if recipe.class_weights == "none":
        return None
    labels = train_set.classes_of_rows()
    return np.bincount(labels[labels >= 0], minlength=num_labels)


def _labels_of(dataset: Dataset) -> np.ndarray:
    return np.asarray(dataset["label"][:], dtype=np.int64)


def _train_sampler(
    recipe: TrainingArguments, train_set: Dataset | StreamedSplit, num_workers: int, share: dict[str, int]
) -> EpochSampler:
    batching = (recipe.total_train_batch_size, recipe.seed)
    if isinstance(train_set, StreamedSplit):
        return StreamSampler(
            train_set.row_group_sizes,
            *batching,
            shuffle_buffer=recipe.shuffle_buffer,
            gradient_accumulation_steps=recipe.gradient_accumulation_steps,
            num_streams=share["num_processes"] * max(1, num_workers),
            **share,
        )
    settings: dict[str, Any] = {
        "repeats": recipe.augmentation_repeats,
        "labels": None if recipe.sampling == "uniform" else _labels_of(train_set),
        "power": _POWER_OF[recipe.sampling],
        **share,
    }
    return TrainSampler(len(train_set), *batching, recipe.gradient_accumulation_steps, **settings)
