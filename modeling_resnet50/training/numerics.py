"""
Numbers that go wrong: a loss that is not finite or leaps, and fp16 steps that overflow. They are noticed before they
reach the weights.
"""

import json
import math
from collections import deque
from statistics import median

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import gather_object
from torch import Tensor, nn

from ..errors import UserError
from ..recipe import Recipe
from .checkpoint import Progress, non_finite_tensors
from .run_folder import RunFolder
from .tensor_lists import by_dtype, copy_all


MAX_ROLLBACKS = 10
_SPIKE_WINDOW = 100  # steps
_SHOWN = 8  # tensors and images; nonfinite.jsonl has all


class NumericsGuard:
    """
    Looks at the loss of every step before the optimizer does. What counts as trouble:

    - a loss that is an infinity or NaN. With a loss scaler, which skips such a step by itself, it is trouble when
      `max_skipped_steps` have been skipped in a row;
    - a loss more than `loss_spike_factor` times as large as that of guessing, and as the median of the last 100 steps.

    A skipped step leaves nothing behind: BatchNorm's statistics return to what they were before it.

    Args:
        model: unwrapped.
        num_labels: the loss of guessing is ln(num_labels), or ln(2) for bce.
        run: where the diagnosis goes.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: AcceleratedOptimizer,
        recipe: Recipe,
        num_labels: int,
        run: RunFolder,
        progress: Progress,
    ):
        self.accelerator, self.model, self.optimizer = accelerator, model, optimizer
        self.recipe, self.run, self.progress = recipe, run, progress
        self.guessing = math.log(2 if recipe.loss == "bce" else num_labels)
        self.rollbacks = 0
        self._buffers = by_dtype(model.buffers())
        self._buffers_before: list[list[Tensor]] = []
        # A fused optimizer skips within its kernel, of which accelerate does not know.
        self._skips_unseen = getattr(optimizer.optimizer, "_step_supports_amp_scaling", False)
        self.forget()

    def forget(self) -> None:
        """What happened before has nothing to do with what comes."""
        self._recent: deque[float] = deque(maxlen=_SPIKE_WINDOW)
        self._skipped: list[list[int]] = []  # in a row: epoch, and images before the step
        self._loss_scale: float | None = None  # before the step, where a skip shows in nothing else
        self._begin_step()

    def _begin_step(self) -> None:
        self._losses: list[tuple[Tensor, torch.Event | None]] = []
        self._images: list[int] = []

    def before_forward(self) -> None:
        """To be called before each forward pass in training."""
        scaler = self.accelerator.scaler
        if scaler is None or self._losses:
            return
        if self._skips_unseen and self._loss_scale is None:
            self._loss_scale = scaler.get_scale()
        if not self._buffers_before:
            self._buffers_before = [[buffer.clone() for buffer in buffers] for buffers in self._buffers]
        else:
            copy_all(self._buffers_before, self._buffers)

    def after_forward(self, loss: Tensor, images: list[int]) -> None:
        """
        To be called before the backward pass: the loss then travels to the host while that runs.

        Args:
            loss: a scalar, the batch's mean.
            images: rows of the training images in the batch.
        """
        value, event = loss.detach(), None
        if loss.device.type == "cuda":  # elsewhere there is no pinned memory that such a copy needs
            value = torch.empty((), dtype=loss.dtype, pin_memory=True)
            value.copy_(loss.detach(), non_blocking=True)
            event = torch.Event(loss.device)
            event.record()
        self._losses.append((value, event))
        self._images += images

    def trouble(self) -> str | None:
        """What is wrong with the step that is about to be taken, on this process; None if nothing is."""
        factor = self.recipe.loss_spike_factor
        scaled = self.accelerator.scaler is not None
        if scaled and factor is None and len(self._skipped) < self.recipe.max_skipped_steps:
            return None  # the scaler looks at the gradients, and waits for them: no second wait for the loss
        losses = []
        for value, event in self._losses:
            if event is not None:
                event.synchronize()
            losses.append(value.item())
        loss = sum(losses) / len(losses)
        if scaled:
            if len(self._skipped) >= self.recipe.max_skipped_steps:
                return f"fp16 skipped {len(self._skipped)} steps in a row, and the loss is {loss:g}"
            if not math.isfinite(loss):
                return None
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if factor is not None:
            usual = max(self.guessing, median(self._recent) if self._recent else 0.0)
            if loss > factor * usual:
                return (
                    f"the loss leapt to {loss:g}, more than {factor:g} (loss_spike_factor) times "
                    f"{'that of guessing' if usual == self.guessing else 'its median'}, {usual:.3g}"
                )
        self._recent.append(loss)
        return None

    def step_was_taken(self) -> bool:
        """
        Whether the optimizer took its step, or the loss scaler skipped it, which is counted, and undone as far as
        BatchNorm is concerned. To be called after each, before `progress` moves on.
        """
        self._begin_step()
        if not self._step_was_skipped():
            self._skipped = []
            return True
        self._skipped.append([self.progress.epoch + 1, self.progress.images])
        self.progress.skipped_steps += 1
        copy_all(self._buffers, self._buffers_before)
        return False

    def _step_was_skipped(self) -> bool:
        scaler = self.accelerator.scaler
        if scaler is None or not self._skips_unseen:
            return self.accelerator.optimizer_step_was_skipped
        # One wait for the device a step, as accelerate's own look at other optimizers is.
        before, self._loss_scale = self._loss_scale, scaler.get_scale()
        assert before is not None, "before_forward comes first"
        return self._loss_scale < before  # which it is after a skipped step only

    def diagnosis(self, trouble: str | None, learning_rate: float) -> str:
        """
        A text for the user, and a line of `nonfinite.jsonl`. To be called by all processes, on the step that is not
        taken.

        Args:
            trouble: what this process found, if it did.
        """
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        scaler = self.accelerator.scaler
        found = {
            "rank": self.accelerator.process_index,
            "epoch": self.progress.epoch + 1,
            "images_before": self.progress.images,
            "step": self.progress.step,
            "trouble": trouble,
            "learning_rate": learning_rate,
            "loss_scale": None if scaler is None else scaler.get_scale(),
            # In the order of the network: the first one is where it began, or near it.
            "weights": non_finite_tensors(self.model.state_dict()),
            "gradients": non_finite_tensors(gradients),
            "images": self._images,
        }
        records = [record for record in gather_object([found]) if record["trouble"]]
        if self.accelerator.is_main_process:
            with self.run.nonfinite_file.open("a") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
        first = records[0]
        rank = f" on rank {first['rank']}" if self.accelerator.num_processes > 1 else ""
        scale = "" if first["loss_scale"] is None else f", loss scale {first['loss_scale']:g}"
        tensors = [
            f"not finite among the {kind}: {_some(first[kind])}" for kind in ("weights", "gradients") if first[kind]
        ]
        return (
            f"{first['trouble']}{rank}, after {first['step']} steps, in epoch {first['epoch']}: learning rate "
            f"{learning_rate:g}{scale}; {'; '.join(tensors) or 'all weights and gradients are finite'}; training "
            f"images {_some(first['images'])}. All of it is in {self.run.nonfinite_file}"
        )

    def roll_back(self, trouble: str | None, learning_rate: float) -> str:
        """
        Leave out the steps that went wrong, once the epoch is begun again from the last checkpoint. To be called by
        all processes.

        Returns:
            The diagnosis.

        Raises:
            UserError: `on_nonfinite` is stop, or it went wrong too often. The message is the diagnosis.
        """
        text = self.diagnosis(trouble, learning_rate)
        if self.recipe.on_nonfinite == "stop":
            raise UserError(
                f"{text}. Nothing is lost: the last checkpoint is from before. Resume it with a smaller learning_rate "
                "and --allow_recipe_change, or with --on_nonfinite rollback, which leaves such steps out"
            )
        if self.rollbacks == MAX_ROLLBACKS:
            raise UserError(f"{text}. It went wrong {MAX_ROLLBACKS + 1} times: try a smaller learning_rate")
        self.rollbacks += 1
        self.progress.left_out += [*self._skipped, [self.progress.epoch + 1, self.progress.images]]
        return text


def is_finite(model: nn.Module) -> bool:
    """Whether weights and buffers hold numbers only: what else there is must not be published."""
    return not non_finite_tensors(model.state_dict())


def _some(names: list) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(str, names[:_SHOWN])) + more
