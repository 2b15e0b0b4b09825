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

from resnet50_recipe.errors import UserError
from resnet50_recipe.training_arguments import TrainingArguments

from .checkpoint import Progress, non_finite_tensors
from .recent_steps import RecentSteps, as_json
from .run_folder import RunFolder
from .tensor_lists import by_dtype, copy_all, copy_all_if, gradient_norm


MAX_ROLLBACKS = 10
_SPIKE_WINDOW = 100  # steps
_SHOWN = 8  # tensors and images; nonfinite.jsonl has all


class NumericsGuard:
    """
    Looks at the loss of every step before the optimizer does. What counts as trouble:

    - a loss that is an infinity or NaN. With a loss scaler, which skips such a step by itself, it is trouble when
      `max_skipped_steps` have been skipped in a row;
    - a loss more than `loss_spike_factor` times as large as that of guessing, and as the median of the last 100 steps.

    A skipped step leaves nothing behind: BatchNorm's statistics return to what they were before it. Whether a fused
    optimizer skipped its step is known to the device alone. The host asks when it has queued the next forward and
    backward passes (`step_is_open` until then), so that the device always has work.

    Args:
        model: unwrapped.
        num_labels: the loss of guessing is ln(num_labels), or ln(2) for bce.
        run: where the diagnosis goes.

    Attributes:
        recent: the last steps, wherever their loss is asked for.
        outcome_is_late: asking whether a step was taken, as soon as it has ended, would wait for the device.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: AcceleratedOptimizer,
        recipe: TrainingArguments,
        num_labels: int,
        run: RunFolder,
        progress: Progress,
    ):
        self.accelerator, self.model, self.optimizer = accelerator, model, optimizer
        self.recipe, self.run, self.progress = recipe, run, progress
        self.guessing = math.log(2 if recipe.loss == "bce" else num_labels)
        self.rollbacks = 0
        self.recent = RecentSteps()
        self._buffers = by_dtype(model.buffers())
        self._buffers_before: list[list[Tensor]] = []
        # A fused optimizer skips within its kernel, of which accelerate does not know.
        scaled = accelerator.scaler is not None
        self._skips_unseen = scaled and getattr(optimizer.optimizer, "_step_supports_amp_scaling", False)
        self.outcome_is_late = self._skips_unseen and recipe.profiled_steps is None
        self.forget()

    def forget(self) -> None:
        """What happened before has nothing to do with what comes."""
        self._recent: deque[float] = deque(maxlen=_SPIKE_WINDOW)
        self._skipped: list[list[int]] = []  # in a row: epoch, and images before the step
        self._scale_before: Tensor | None = None  # where a skip shows in nothing else
        self._open: tuple[list[int], _OnItsWay] | None = None  # the step whose outcome is not yet known
        self._forget_losses()

    def _forget_losses(self) -> None:
        self._losses: list[_OnItsWay] = []
        self._images: list[int] = []

    @property
    def step_is_open(self) -> bool:
        """Whether `step_was_taken` is still to be asked about the last step."""
        return self._open is not None

    def buffers_of(self, model: nn.Module) -> list[Tensor]:
        """BatchNorm's statistics as the last step left them, though forward passes of the next have begun."""
        if self._losses and self._buffers_before:
            kept = {id(b): a for now, then in zip(self._buffers, self._buffers_before) for b, a in zip(now, then)}
            return [kept[id(buffer)] for buffer in model.buffers()]
        return list(model.buffers())

    def begin_step(self) -> None:
        """Before its first forward pass: what BatchNorm has measured so far is kept, should fp16 skip the step."""
        if self.accelerator.scaler is None:
            return
        if self._skips_unseen and self._scale_before is None:
            self._scale_before = self._scale()
        if not self._buffers_before:
            self._buffers_before = [[buffer.clone() for buffer in buffers] for buffers in self._buffers]
        else:
            copy_all(self._buffers_before, self._buffers)

    def watch(self, loss: Tensor, images: list[int]) -> None:
        """
        Between a forward pass and its backward pass: the loss travels to the host while that runs.

        Args:
            loss: a scalar, the batch's mean.
            images: rows of the training images in the batch.
        """
        self._losses.append(_OnItsWay(loss.detach()))
        self._images += images

    def judge(self, learning_rate: float) -> str | None:
        """What is wrong with the step that is about to be taken, on this process; None if nothing is."""
        factor = self.recipe.loss_spike_factor
        scaled = self.accelerator.scaler is not None
        if scaled and factor is None and len(self._skipped) < self.recipe.max_skipped_steps:
            return None  # the scaler looks at the gradients
        loss = sum(value.arrived() for value in self._losses) / len(self._losses)
        self.recent.add(self.progress.step + 1, loss, learning_rate)
        if scaled:
            if len(self._skipped) >= self.recipe.max_skipped_steps:
                return f"fp16 skipped {len(self._skipped)} steps in a row, and the loss is {loss:g}"
            if not math.isfinite(loss):
                return None
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if factor is not None:
            usual = max(self.guessing, self._median() or 0.0)
            if loss > factor * usual:
                return (
                    f"the loss leapt to {loss:g}, more than {factor:g} (loss_spike_factor) times "
                    f"{'that of guessing' if usual == self.guessing else 'its median'}, {usual:.3g}"
                )
        self._recent.append(loss)
        return None

    def _median(self) -> float | None:
        """Of the losses that a leap is measured by; None if there are none yet."""
        return median(self._recent) if self._recent else None

    def gradients_were_clipped(self, norm: Tensor) -> None:
        """
        May be called before each step of the optimizer.

        Args:
            norm: of the gradient before that, a scalar. It travels to the host while other work goes on.
        """
        self.recent.gradient_norm(_OnItsWay(norm.detach()).arrived)

    def step_ended(self) -> None:
        """
        To be called after each step of the optimizer, before `progress` moves on. If the loss scaler skipped it, it is
        undone as far as BatchNorm is concerned.
        """
        self._forget_losses()
        place = [self.progress.epoch + 1, self.progress.images]
        if self._skips_unseen:
            before, self._scale_before = self._scale_before, self._scale()
            assert before is not None, "begin_step comes first"
            skipped = self._scale_before < before  # which it is after a skipped step only
            copy_all_if(skipped, self._buffers, self._buffers_before)
        else:
            skipped = torch.tensor(self.accelerator.optimizer_step_was_skipped)
            if skipped:
                copy_all(self._buffers, self._buffers_before)
        self._open = place, _OnItsWay(skipped)

    def step_was_taken(self) -> bool:
        """Whether the optimizer took the step that ended last; one that was skipped is counted. Waits for it."""
        assert self._open is not None, "step_ended comes first"
        (place, skipped), self._open = self._open, None
        if not skipped.arrived():
            self._skipped = []
            return True
        self._skipped.append(place)
        self.progress.skipped_steps += 1
        self.recent.skipped()
        return False

    def _scale(self) -> Tensor:
        """The loss scale, on the device: `get_scale` would wait for it."""
        assert self.accelerator.scaler is not None
        scale: Tensor = self.accelerator.scaler.scale(torch.ones((), device=self.accelerator.device))
        return scale

    def diagnosis(self, trouble: str | None, learning_rate: float) -> str:
        """
        A text for the user, and a line of `nonfinite.jsonl`. To be called by all processes, on the step that is not
        taken.

        Args:
            trouble: what this process found, if it did.
        """
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        scaler = self.accelerator.scaler
        loss_scale = None if scaler is None else scaler.get_scale()
        norm = gradient_norm(self.model, loss_scale or 1.0).item()
        self.recent.gradient_norm(lambda: norm)
        found = {
            "rank": self.accelerator.process_index,
            "epoch": self.progress.epoch + 1,
            "images_before": self.progress.images,
            "step": self.progress.step,
            "trouble": trouble,
            "learning_rate": learning_rate,
            "loss_scale": loss_scale,
            "losses": [as_json(value.arrived()) for value in self._losses],  # of this step, one for each forward pass
            "gradient_norm": as_json(norm),
            "guessing": self.guessing,
            "median": self._median(),
            "losses_before": list(self._recent),  # that have this median
            # In the order of the network: the first one is where it began, or near it.
            "weights": non_finite_tensors(self.model.state_dict()),
            "gradients": non_finite_tensors(gradients),
            "images": self._images,
        }
        records = [record for record in gather_object([found]) if record["trouble"]]
        where = f"All of it is in {self.run.nonfinite_file}"
        if self.accelerator.is_main_process:
            try:
                with self.run.nonfinite_file.open("a") as file:
                    file.writelines(json.dumps(record) + "\n" for record in records)
                self.recent.write(self.run.recent_steps_file)
            except OSError as error:  # a full disk must not hide what went wrong
                where = f"{self.run.nonfinite_file} could not be written: {error.strerror}"
        first = records[0]
        rank = f" on rank {first['rank']}" if self.accelerator.num_processes > 1 else ""
        scale = "" if first["loss_scale"] is None else f", loss scale {first['loss_scale']:g}"
        tensors = [
            f"not finite among the {kind}: {_some(first[kind])}" for kind in ("weights", "gradients") if first[kind]
        ]
        return (
            f"{first['trouble']}{rank}, after {first['step']} steps, in epoch {first['epoch']}: learning rate "
            f"{learning_rate:g}{scale}; {'; '.join(tensors) or 'all weights and gradients are finite'}; training "
            f"images {_some(first['images'])}. {where}"
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


class _OnItsWay:
    """A scalar that travels from the device to the host while other work goes on."""

    def __init__(self, value: Tensor):
        self._value, self._event = value, None
        if value.device.type == "cuda":  # elsewhere there is no pinned memory, which such a copy needs
            self._value = torch.empty((), dtype=value.dtype, pin_memory=True)
            self._value.copy_(value, non_blocking=True)
            self._event = torch.Event(value.device)
            self._event.record()

    def arrived(self) -> float:
        """The value, waited for if need be."""
        if self._event is not None:
            self._event.synchronize()
        return self._value.item()


def is_finite(model: nn.Module) -> bool:
    """Whether weights and buffers hold numbers only: what else there is must not be published."""
    return not non_finite_tensors(model.state_dict())


def _some(names: list) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(str, names[:_SHOWN])) + more
