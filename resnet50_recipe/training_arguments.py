"""All that a run is told: its recipe, which decides the result, and its options, which do not."""

from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub.dataclasses import strict

from .errors import UserError
from .recipe import Recipe
from .run_options import RunOptions
from .yaml_text import to_yaml


_FITTING_STEPS = 4  # in an epoch, at least, with `fit_batch_to_data`
SMALLEST_FITTING = 8  # images: of fewer, BatchNorm's statistics are noise


@strict
@dataclass(kw_only=True)
class TrainingArguments(RunOptions, Recipe):
    """
    What a recipe's file and the command line say. Functions ask for the part they need, a `Recipe` or `RunOptions`:
    so the type checker holds that no option decides a result.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher_cache is not None and not self.teachers:
            raise UserError(
                "teacher_cache keeps what a teacher says, and there is none: give --teacher, or leave it out"
            )
        if self.teacher_cache is not None and self.streaming:
            raise UserError(
                "teacher_cache needs images in an order that no number of workers changes, which streaming has not: "
                "leave one of them out"
            )

    def local_batch_size(self, num_processes: int) -> int:
        """
        Images that one process takes through the network at once.

        Raises:
            UserError: the total does not divide over processes and accumulation steps.
        """
        parts = num_processes * self.gradient_accumulation_steps
        if self.total_train_batch_size % parts:
            below = self.total_train_batch_size // parts * parts
            nearest = f"{below} or {below + parts}" if below else f"{parts}"
            raise UserError(
                f"total_train_batch_size {self.total_train_batch_size} does not divide over {num_processes} "
                f"process(es) × {self.gradient_accumulation_steps} accumulation step(s): --total_train_batch_size "
                f"{nearest} would"
            )
        return self.total_train_batch_size // parts

    def fitting_batch_size(self, num_images: int, num_processes: int) -> int:
        """`total_train_batch_size`, or what `fit_batch_to_data` makes of it for so many training images."""
        size, parts = self.total_train_batch_size, num_processes * self.gradient_accumulation_steps
        if self.fit_batch_to_data:
            while num_images < _FITTING_STEPS * size and size // 2 >= SMALLEST_FITTING and size % (2 * parts) == 0:
                size //= 2
        return size

    def check_fills_a_batch(self, num_images: int) -> None:
        """Raises: UserError, if so many training images are fewer than one optimizer step takes."""
        if num_images < self.total_train_batch_size:
            fitting = 2 ** max(0, (num_images // _FITTING_STEPS).bit_length() - 1)
            raise UserError(
                f"{num_images:,} training images are fewer than one batch of {self.total_train_batch_size}: "
                f"--total_train_batch_size {fitting}"
            )

    def checkpoint_is_due(self, images: int, epoch: int, images_per_epoch: int) -> bool:
        """
        Whether `checkpoint_every_steps` asks for one within an epoch. At its end, `checkpoint_every_epochs` decides.

        Args:
            images: done in the epoch: whole steps.
            epoch: which one it is, counted from 1.
            images_per_epoch: of a whole one, in whole steps.
        """
        if self.checkpoint_every_steps is None or images == images_per_epoch:
            return False
        steps = ((epoch - 1) * images_per_epoch + images) // self.total_train_batch_size
        return steps % self.checkpoint_every_steps == 0

    def save(self, path: Path) -> None:
        """Write every field but the token as YAML: training from that file is the same run again."""
        fields = {name: value for name, value in asdict(self).items() if name != "hub_token"}
        path.write_text(to_yaml(fields), encoding="utf-8")
