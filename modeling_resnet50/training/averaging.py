"""Averages of the weights along the way, which often classify better than the weights at the end."""

from collections.abc import Iterable
from itertools import chain, islice

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from resnet50_recipe.recipe import Recipe

from .tensor_lists import by_dtype, copy_all


class WeightAverage:
    """
    A second model whose weights are the average of the first one's.

    Attributes:
        module: that model, in evaluation mode.
        average: the library's, whose state is saved and loaded.
        start_epoch: after which, counted from 1, averaging begins.
    """

    module: nn.Module
    average: nn.Module
    start_epoch: int

    @property
    def has_begun(self) -> bool:
        """Whether anything has been averaged. Before that it is the first weights, or a copy."""
        raise NotImplementedError

    def after_step(self, model: nn.Module, buffers: list[Tensor], step: int, epoch: int) -> None:
        """
        To be called after each optimizer step.

        Args:
            buffers: of the model, as that step left them.
            step: so many are taken.
            epoch: the one that runs, counted from 1.
        """

    def after_epoch(self, model: nn.Module, epoch: int) -> None:
        """To be called when an epoch, counted from 1, is over."""

    def state_dict(self) -> dict[str, Tensor]:
        return self.average.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.average.load_state_dict(state)


class ExponentialMovingAverage(WeightAverage):
    """
    timm's `ModelEmaV3`: parameters and BatchNorm's statistics, `average += (1 - decay) * (weights - average)`. Its own
    `update` goes through two state dicts and copies each of BatchNorm's counters by itself; here the same values come
    from one kernel for all that is averaged, and one for the counters.
    """

    def __init__(self, model: nn.Module, recipe: Recipe):
        from timm.utils import ModelEmaV3  # which only those who average wait for

        assert recipe.ema_decay is not None
        self.average: ModelEmaV3 = ModelEmaV3(model, decay=recipe.ema_decay, use_warmup=recipe.ema_warmup)
        self.module = self.average.module
        self.every_steps, self.start_epoch = recipe.ema_every_steps, recipe.ema_start_epoch
        self.num_updates = 0

    @property
    def has_begun(self) -> bool:
        return self.num_updates > 0

    @torch.no_grad()
    def after_step(self, model: nn.Module, buffers: list[Tensor], step: int, epoch: int) -> None:
        if step % self.every_steps:
            return
        averages = by_dtype(chain(self.module.parameters(), self.module.buffers()))
        values = by_dtype(chain(model.parameters(), buffers))
        if epoch <= self.start_epoch:
            copy_all(averages, values)
            return
        self.num_updates += 1  # timm's and torchvision's first one copies
        weight = 1.0 - self.average.get_decay(self.num_updates)
        for average, value in zip(averages, values, strict=True):
            if average[0].is_floating_point():
                torch._foreach_lerp_(average, value, weight)
            else:
                torch._foreach_copy_(average, value)

    def state_dict(self) -> dict[str, Tensor]:
        return {**super().state_dict(), "num_updates": torch.tensor(self.num_updates)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict({name: value for name, value in state.items() if name != "num_updates"})
        self.num_updates = int(state["num_updates"])


class StochasticWeightAverage(WeightAverage):
    """Mean of the weights at the ends of epochs (Izmailov et al. 2018), by PyTorch's `AveragedModel`."""

    average: AveragedModel

    def __init__(self, model: nn.Module, recipe: Recipe):
        assert recipe.swa_start_epoch is not None
        self.average = AveragedModel(model)
        self.module = self.average.module.eval()
        self.start_epoch = recipe.swa_start_epoch - 1

    @property
    def has_begun(self) -> bool:
        return int(self.average.n_averaged) > 0

    def after_epoch(self, model: nn.Module, epoch: int) -> None:
        if epoch > self.start_epoch:
            self.average.update_parameters(model)  # the first one copies


def create_average(model: nn.Module, recipe: Recipe) -> WeightAverage | None:
    """The average that a recipe asks for, if any. `model` must be unwrapped, and on its device."""
    if recipe.ema_decay is not None:
        return ExponentialMovingAverage(model, recipe)
    if recipe.swa_start_epoch is not None:
        return StochasticWeightAverage(model, recipe)
    return None


def first_averaged_step(recipe: Recipe, steps_per_epoch: int) -> int:
    """The optimizer step, counted from 1, after which a recipe's average begins; it may lie beyond the run's end."""
    if recipe.swa_start_epoch is not None:
        return recipe.swa_start_epoch * steps_per_epoch
    every = recipe.ema_every_steps
    return (recipe.ema_start_epoch * steps_per_epoch // every + 1) * every


def recalibrate_batch_norm(
    model: nn.Module, batches: Iterable[dict[str, Tensor]], num_batches: int, accelerator: Accelerator
) -> None:
    """
    Measure BatchNorm's statistics anew: the mean over some batches of all processes, in the training precision.

    Args:
        model: unwrapped; its mode is kept.
        batches: of the training data; each process has its own.
        num_batches: how many of them to take.
    """
    with accelerator.autocast():
        update_bn((batch["pixel_values"] for batch in islice(batches, num_batches)), model)
    if accelerator.num_processes > 1:
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(accelerator.reduce(buffer.clone(), "mean"))


def freeze_batch_norm(model: nn.Module) -> None:
    """BatchNorm normalises by its running statistics, which stay as they are. Undone by `model.train()`."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
