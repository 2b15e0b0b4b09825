"""What learns: a model, and all that changes with it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn
from transformers import PreTrainedModel

from resnet50_recipe.recipe import Recipe
from resnet50_recipe.weights import Weights

from ..data.pipeline import TrainingData
from ..training.averaging import WeightAverage, freeze_batch_norm, recalibrate_batch_norm
from ..training.checkpoint import Progress
from ..training.losses import Criterion
from ..training.metrics import TrainMetrics
from ..training.numerics import NumericsGuard
from ..training.optimization import set_learning_rate
from ..training.outlook import Outlook, look_ahead
from ..training.stages import forget_gradients, frozen_parts


@dataclass
class Learner:
    """
    A model that learns, one optimizer step at a time.

    Attributes:
        model: as `Accelerator.prepare` gives it.
        module: the same, unwrapped: what is saved and judged.
        forward: the same, compiled if the recipe says so: what a step calls.
        schedule: by which `lr_at` follows from `outlook`.
        average: of the weights, if the recipe wants one.
        metrics: of the epoch that runs.
        frozen: parts of the module that keep their weights in this epoch.
        learning_rate: of the last step, before any group's scale.
        step_was_taken: the last one, by the optimizer; None while only the device knows.
        outlook: what the epochs that are over decide about those to come.
        lr_at: learning rate of the step after so many, in the epochs to come.
    """

    recipe: Recipe
    accelerator: Accelerator
    model: nn.Module
    module: PreTrainedModel
    forward: nn.Module
    criterion: Criterion
    optimizer: AcceleratedOptimizer
    schedule: Callable[[Outlook], Callable[[int], float]]
    average: WeightAverage | None
    guard: NumericsGuard
    progress: Progress
    metrics: TrainMetrics
    frozen: list[nn.Module] = field(default_factory=list)
    learning_rate: float = 0.0
    step_was_taken: bool | None = None
    outlook: Outlook = field(init=False)
    lr_at: Callable[[int], float] = field(init=False)

    def __post_init__(self):
        self.follow(look_ahead(self.recipe, history=[]))

    def follow(self, outlook: Outlook) -> None:
        """Between epochs: how many there are to be, and the learning rates of those to come."""
        self.outlook, self.lr_at = outlook, self.schedule(outlook)

    def start_epoch(self, metrics: TrainMetrics) -> None:
        """Ready to train: BatchNorm measures, unless it is frozen. Frozen parts do what they do when judged."""
        self.metrics = metrics
        self.model.train()
        self.frozen = frozen_parts(self.module, self.recipe, self.progress.epoch + 1)
        for part in self.frozen:
            part.eval()
        if self.recipe.freeze_batch_norm:
            freeze_batch_norm(self.model)

    def judge(self) -> str | None:
        """What is wrong, on this process, with the step whose gradients are there; None if nothing is."""
        self.settle()  # the one before: the device has done it meanwhile
        forget_gradients(self.frozen)
        return self.guard.judge(self.lr_at(self.progress.step))

    def step(self) -> None:
        """Let the optimizer take the step whose gradients are there. fp16 may skip it."""
        self.learning_rate = self.lr_at(self.progress.step)
        set_learning_rate(self.optimizer, self.learning_rate)
        if self.recipe.max_grad_norm is not None:
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
            self.guard.gradients_were_clipped(norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.guard.step_ended()
        self.step_was_taken = None
        if not self.guard.outcome_is_late:
            self.settle()

    def settle(self) -> None:
        """Count the last step, and let the average have it, if the optimizer took it. Waits for it."""
        if not self.guard.step_is_open:
            return
        self.step_was_taken = self.guard.step_was_taken()
        if self.step_was_taken:
            self.progress.step += 1
            if self.average is not None:
                buffers = self.guard.buffers_of(self.module)
                self.average.after_step(self.module, buffers, self.progress.step, self.progress.epoch + 1)

    def forget_gradients(self) -> None:
        """After going back: nothing of the steps that went wrong has a part in the next one."""
        self.optimizer.zero_grad()
        self.guard.forget()

    def finish_average(self, data: TrainingData) -> None:
        """When an epoch is over: let the average have it, and measure its BatchNorm statistics if they have to be."""
        if self.average is None:
            return
        self.average.after_epoch(self.module, self.progress.epoch + 1)
        if self.average.has_begun and self.recipe.batch_norm_recalibration_steps:
            data.train_loader.sampler.start(0)  # an epoch that is never trained on
            steps = self.recipe.batch_norm_recalibration_steps
            recalibrate_batch_norm(self.average.module, data.train_loader, steps, self.accelerator)

    def candidates(self, epoch: int) -> dict[Weights, Any]:
        """
        The model and, once there is one, its average.

        Args:
            epoch: after which, counted from 1.
        """
        found: dict[Weights, Any] = {Weights(epoch): self.module}
        if self.average is not None and self.average.has_begun:
            found[Weights(epoch, averaged=True)] = self.average.module
        return found
