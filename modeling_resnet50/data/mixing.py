"""Mixup (Zhang et al. 2017) and CutMix (Yun et al. 2019), by timm, in a way that does not depend on the machine."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


class Mixing:
    """
    Mixes the images of a batch in pairs, and their targets with them.

    What is drawn is a pure function of the seed, the epoch, the step and the place in the step's total batch, and an
    image's partner is its neighbour there. So it does not matter over how many processes and accumulation passes a
    batch is spread, as long as each gets an even number of images. (timm pairs the first image with the last; as the
    order is random, that is the same.)

    Args:
        recipe: `mixup_alpha`, `cutmix_alpha`, `mixup_prob`, `mixup_switch_prob`, `mixup_group_size`,
            `mixup_off_epoch`, and `label_smoothing_factor`, which goes into the targets, mixed or not.
        num_labels: number of classes.
        gradient_accumulation_steps: passes that a batch is spread over.
        process_index, num_processes: this process's share of each batch.

    Raises:
        UserError: a process's share of the batch, or of a group, is an odd number of images.
    """

    def __init__(
        self,
        recipe: Recipe,
        num_labels: int,
        gradient_accumulation_steps: int = 1,
        process_index: int = 0,
        num_processes: int = 1,
    ):
        from timm.data import Mixup  # which only those who mix wait for

        self.mixup = Mixup(
            mixup_alpha=recipe.mixup_alpha,
            cutmix_alpha=recipe.cutmix_alpha,
            prob=recipe.mixup_prob,
            switch_prob=recipe.mixup_switch_prob,
            label_smoothing=recipe.label_smoothing_factor,
            num_classes=num_labels,
        )
        self.off_epoch = recipe.mixup_off_epoch
        self.seed = recipe.seed
        self.passes = gradient_accumulation_steps
        self.process_index = process_index
        self.num_processes = num_processes
        self.batch_size = recipe.total_train_batch_size // (num_processes * gradient_accumulation_steps)
        self.group_size = recipe.mixup_group_size or recipe.total_train_batch_size
        if self.batch_size % 2:
            raise UserError(
                f"mixup and CutMix mix images in pairs, but a process has {self.batch_size} at once: choose "
                "--total_train_batch_size or --gradient_accumulation_steps so that it is an even number"
            )

    def __call__(self, pixel_values: Tensor, labels: Tensor, epoch: int, batch_number: int) -> tuple[Tensor, Tensor]:
        """
        Args:
            pixel_values: float `(batch, channels, height, width)`, changed in place.
            labels: int64 `(batch,)`.
            epoch: of the run.
            batch_number: forward pass of this process in the epoch, from 0.

        Returns:
            The images, and targets `(batch, num_labels)`.
        """
        self.mixup.mixup_enabled = self.off_epoch == 0 or epoch <= self.off_epoch
        step, accumulation_pass = divmod(batch_number, self.passes)
        first = (accumulation_pass * self.num_processes + self.process_index) * self.batch_size
        targets = []
        start = 0
        while start < len(labels):
            group, place = divmod(first + start, self.group_size)
            stop = min(len(labels), start + self.group_size - place)
            with _numpy_seeded(self.seed, epoch, step, group):
                targets.append(self._mix(pixel_values[start:stop], labels[start:stop]))
            start = stop
        return pixel_values, torch.cat(targets)

    def _mix(self, pixel_values: Tensor, labels: Tensor) -> Tensor:
        """timm mixes image k with image n - 1 - k: put neighbours there, and back."""
        n, device = len(labels), labels.device
        # Made where it is used: to copy it there would wait for all that the device has still to do.
        order = torch.cat([torch.arange(0, n, 2, device=device), torch.arange(n - 1, 0, -2, device=device)])
        mixed, targets = self.mixup(pixel_values[order], labels[order])
        pixel_values[order] = mixed
        in_place = torch.empty_like(targets)
        in_place[order] = targets
        return in_place


@contextmanager
def _numpy_seeded(*seed: int) -> Iterator[None]:
    """timm draws from NumPy's global generator."""
    state = np.random.get_state()
    np.random.seed(np.random.SeedSequence(seed).generate_state(4))
    try:
        yield
    finally:
        np.random.set_state(state)
