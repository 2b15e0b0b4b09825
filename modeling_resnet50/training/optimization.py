"""Optimizer and learning rate."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from resnet50_recipe.errors import UserError, did_you_mean
from resnet50_recipe.recipe import Recipe

from .outlook import Outlook
from .stages import learning_rate_scales


def create_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """
    Any optimizer that timm knows, by its name there; `sgd` is PyTorch's, with or without Nesterov. On a GPU it is
    fused where it can be, unless `optim_args` says otherwise: then fp16 waits for no look at the gradients.

    Raises:
        UserError: no optimizer of that name, or arguments that it does not take.
    """
    create, defaults = _class_and_defaults(recipe)
    arguments = defaults | (recipe.optim_args or {})
    on_gpu = next(model.parameters()).device.type == "cuda"
    can_be_fused = "fused" in inspect.signature(create).parameters
    if on_gpu and can_be_fused and not {"fused", "foreach", "dampening"} & arguments.keys():
        arguments["fused"] = True
    groups = parameter_groups(model, recipe)
    try:
        optimizer = create(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise UserError(f"optim {recipe.optim} with optim_args {recipe.optim_args}: {error}") from error
    if isinstance(optimizer, torch.optim.SGD):
        _begin_momentum(optimizer)
    return optimizer


def _class_and_defaults(recipe: Recipe) -> tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]:
    """Of timm's registry, not from its factory, which passes over `eps` and others where they have no meaning."""
    if recipe.optim == "sgd":  # which does not wait for timm, where its name means Nesterov
        return torch.optim.SGD, {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
    from timm.optim import get_optimizer_class, get_optimizer_info, list_optimizers

    known = ["sgd", *map(str, list_optimizers())]
    if recipe.optim not in known:
        raise UserError(f"optim {recipe.optim}: no such optimizer{did_you_mean(recipe.optim, known)}")
    try:
        create = get_optimizer_class(recipe.optim, bind_defaults=False)
    except (ImportError, AssertionError) as error:  # those of apex and bitsandbytes, without them or a GPU
        raise UserError(f"optim {recipe.optim}: {error}") from error
    info = get_optimizer_info(recipe.optim)
    if info.second_order:
        raise UserError(f"optim {recipe.optim} needs second derivatives, which nothing here takes: choose another one")
    return create, ({"momentum": recipe.momentum} if info.has_momentum else {}) | (info.defaults or {})


def _begin_momentum(optimizer: torch.optim.SGD) -> None:
    """
    With zeros, from which the first step makes the gradient, as without. Fused SGD would take memory as it comes, and
    keep what was in it if a loss scaler skips the first step (torch 2.11 to 2.15).
    """
    for group in optimizer.param_groups:
        if group["fused"] and group["momentum"]:
            if group["dampening"]:
                raise UserError(
                    "fused SGD with dampening may begin with anything: leave one of them out of optim_args"
                )
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict]:
    """
    All trainable parameters, in groups of the same weight decay (`weight_decay_on`) and, as timm's schedulers know it,
    of the same `lr_scale` (`layer_decay`, `head_learning_rate_factor`).
    """
    scales = learning_rate_scales(model, recipe)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for path, module in model.named_modules():
        is_norm = isinstance(module, nn.modules.batchnorm._NormBase)
        for name, parameter in module.named_parameters(recurse=False):
            spared = recipe.weight_decay_on != "all" and is_norm
            spared |= recipe.weight_decay_on == "all_but_norm_and_bias" and name == "bias"
            scale = scales.get(f"{path}.{name}".removeprefix("."), 1.0)
            if parameter.requires_grad:
                groups.setdefault((scale, spared), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": 0.0 if spared else recipe.weight_decay}
        | ({"lr_scale": scale} if scales else {})
        for (scale, spared), parameters in sorted(groups.items(), key=lambda group: group[0])
    ]


def learning_rate_schedule(
    recipe: Recipe, steps_per_epoch: int, outlook: Outlook | None = None
) -> Callable[[int], float]:
    """
    The learning rate as a pure function of the optimizer step.

    A function rather than a scheduler object: it resumes from one integer, and Accelerate cannot step it once per
    process.

    Args:
        recipe: `learning_rate`, `min_learning_rate`, `num_train_epochs`, `cooldown_epochs`, and all of `warmup_` and
            `lr_`.
        steps_per_epoch: optimizer steps in one epoch.
        outlook: how many epochs there are, and where it falls by what came of those before; None: of no epoch yet.

    Returns:
        `lr_at(step)`, where `step` counts the optimizer steps already taken.
    """
    peak, lowest = recipe.learning_rate, recipe.min_learning_rate
    outlook = outlook or Outlook(recipe.num_train_epochs)
    epochs = outlook.epochs - recipe.cooldown_epochs  # when the course ends
    warmup = recipe.warmup_epochs
    start = 0.0 if recipe.warmup_replaces_schedule else warmup  # epoch at which the course begins

    def course(epoch: float) -> float:
        """After warm-up; `epoch` is continuous, from 0."""
        epoch = min(epoch, epochs)
        progress = (epoch - start) / (epochs - start) if epochs > start else 1.0
        match recipe.lr_scheduler_type:
            case "cosine":
                return lowest + (peak - lowest) * 0.5 * (1 + math.cos(math.pi * progress))
            case "linear":
                return lowest + (peak - lowest) * (1 - progress)
            case "polynomial":
                return lowest + (peak - lowest) * (1 - progress) ** recipe.lr_power
            case "step":
                return peak * recipe.lr_step_factor ** sum(epoch >= milestone for milestone in recipe.lr_step_epochs)
            case "constant":
                return peak
            case "warmup_stable_decay":
                return lowest + (peak - lowest) * _decayed(recipe, epoch, epochs, outlook.epochs)
            case "reduce_lr_on_plateau":
                return next((rate for after, rate in reversed(outlook.falls) if epoch >= after), peak)
        raise AssertionError(recipe.lr_scheduler_type)

    def lr_at(step: int) -> float:
        if recipe.lr_scheduler_type == "one_cycle":
            return _one_cycle(recipe, step, steps_per_epoch, outlook.epochs)
        by_epoch = recipe.lr_scheduler_interval == "epoch"
        step = step // steps_per_epoch * steps_per_epoch if by_epoch else step
        epoch = step / steps_per_epoch
        if epoch < warmup:
            if recipe.warmup_start_factor is None:
                return peak * min(1.0, (epoch + (1 if by_epoch else 1 / steps_per_epoch)) / warmup)
            return peak * (recipe.warmup_start_factor + (1 - recipe.warmup_start_factor) * epoch / warmup)
        return course(epoch)

    return lr_at


def _decayed(recipe: Recipe, epoch: float, end: float, num_epochs: int) -> float:
    """What is left of the peak in the last `lr_decay_share` of the epochs, as transformers' `get_wsd_schedule`."""
    begin = max(end - recipe.lr_decay_share * num_epochs, recipe.warmup_epochs)
    progress = (epoch - begin) / (end - begin) if epoch > begin else 0.0
    match recipe.lr_decay_type:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        case "linear":
            return 1 - progress
        case "1-sqrt":
            return 1 - math.sqrt(progress)
    raise AssertionError(recipe.lr_decay_type)


def _one_cycle(recipe: Recipe, step: int, steps_per_epoch: int, num_epochs: int) -> float:
    """
    Up along half a cosine during warm-up, then down along another (Smith and Topin 2018), as PyTorch's `OneCycleLR`:
    from a 25th of the peak, or `warmup_start_factor`, to a 250,000th. A warm-up of one step, where `OneCycleLR`
    divides by zero or follows a rounding error, is at the peak, as the last step of any other.
    """
    peak, last = recipe.learning_rate, num_epochs * steps_per_epoch - 1
    first = peak * (recipe.warmup_start_factor if recipe.warmup_start_factor is not None else 1 / 25)
    top = recipe.warmup_epochs / num_epochs * (last + 1) - 1  # the step at the peak
    if step <= top and top > 1e-9:
        return first + (peak - first) * 0.5 * (1 - math.cos(math.pi * step / top))
    final = first / 1e4
    down = (step - top) / (last - top) if last > top else 0.0
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * down))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """For each group, by its `lr_scale` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)
