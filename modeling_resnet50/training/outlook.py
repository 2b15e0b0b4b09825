"""
What the epochs that are over decide about those to come: whether there are any, and where the learning rate falls.

A pure function of recipe and metrics.jsonl, so nothing of it has to be kept: whoever resumes, goes back or asks from
outside comes to the same.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from resnet50_recipe.durations import duration
from resnet50_recipe.recipe import Recipe
from resnet50_recipe.words import counted


PLANNED_SHARE = 0.97  # of `max_hours`; the rest is for final/, and for epochs that take longer than the second one


@dataclass(frozen=True)
class Outlook:
    """
    Attributes:
        epochs: how many the run has, as far as is known.
        why: what decided that, in words; None where it is `num_train_epochs` alone.
        falls: of reduce_lr_on_plateau: so many epochs, after which the learning rate falls, and to what.
    """

    epochs: int
    why: str | None = None
    falls: tuple[tuple[int, float], ...] = ()


def look_ahead(recipe: Recipe, history: list[dict[str, Any]]) -> Outlook:
    """
    Args:
        recipe: `num_train_epochs`, `max_hours`, `early_stopping_` and `lr_plateau_` fields, `metric_for_best_model`.
        history: rows of metrics.jsonl.
    """
    known = [found for found in (_stopped_early(recipe, history), _within_hours(recipe, history)) if found]
    epochs, why = min(known, key=lambda found: found[0], default=(recipe.num_train_epochs, None))
    return Outlook(epochs, why, tuple(_falls(recipe, history)))


def limits(recipe: Recipe) -> str:
    """What may end a run before all its epochs, to follow their number; "" where nothing does."""
    found = []
    if recipe.early_stopping_patience:
        epochs = counted(recipe.early_stopping_patience, "epoch")
        found.append(f"when {recipe.metric_for_best_model} has not become better in {epochs}")
    if recipe.max_hours is not None:
        found.append(f"with as many epochs as fit into {counted(recipe.max_hours, 'hour')}")
    return f"; or it ends {' or '.join(found)}" if found else ""


def _stopped_early(recipe: Recipe, history: list[dict[str, Any]]) -> tuple[int, str] | None:
    """
    As transformers' `EarlyStoppingCallback`: better is what differs from the best so far by more than the threshold.
    Until all that the recipe begins later has begun, epochs do not count.
    """
    patience = recipe.early_stopping_patience
    if not patience:
        return None
    begun = max(recipe.begins_later.values(), default=0)
    best, best_epoch, waited = -math.inf, 0, 0
    for row in history:
        score, _ = recipe.best_of([row])
        if score - best > recipe.early_stopping_threshold:
            waited = 0
        elif row["epoch"] > begun:
            waited += 1
        if score > best:
            best, best_epoch = score, row["epoch"]
        if waited >= patience:
            value = best if recipe.greater_is_better else -best
            least = f" by more than {recipe.early_stopping_threshold:g}" if recipe.early_stopping_threshold else ""
            return row["epoch"], (
                f"early stopping: {recipe.metric_for_best_model} has not become better{least} in "
                f"{counted(patience, 'epoch')}; the best was {value:.4f} after epoch {best_epoch}"
            )
    return None


def _within_hours(recipe: Recipe, history: list[dict[str, Any]]) -> tuple[int, str] | None:
    """
    Fixed after the second epoch, by its time from the end of the first: without what only a start takes, and with the
    saving between them. From then on, an epoch begins unless the hours are over.
    """
    if recipe.max_hours is None or not history:
        return None
    most, hours = recipe.num_train_epochs, 3600 * recipe.max_hours
    seconds = [row["seconds"] for row in history]
    if len(seconds) == 1:
        pace, fitting = seconds[0], 1 if 2 * seconds[0] > hours else most
    else:
        pace = max(seconds[1] - seconds[0], 1e-9)
        fitting = min(most, 2 + max(0, math.floor((PLANNED_SHARE * hours - seconds[1]) / pace)))
    for row in history:
        if row["seconds"] >= hours and row["epoch"] < fitting:
            return row["epoch"], f"max_hours {recipe.max_hours:g}: over in epoch {row['epoch']} of {fitting}"
    if len(seconds) == 1 and fitting == most:
        return None
    which = f"all {most} epochs fit" if fitting == most else f"{fitting} of {counted(most, 'epoch')} fit"
    late = [name for name, epochs in recipe.begins_later.items() if fitting <= epochs < most]
    lost = f"; they end before {' and '.join(late)}" if late else ""
    return fitting, f"max_hours {recipe.max_hours:g}: {which}, {duration(pace)} each{lost}"


def _falls(recipe: Recipe, history: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """PyTorch's `ReduceLROnPlateau`, led through the history. As in timm, it hears of no epoch of the warm-up."""
    if recipe.lr_scheduler_type != "reduce_lr_on_plateau":
        return []
    optimizer = torch.optim.SGD([torch.zeros(())], lr=recipe.learning_rate)
    scheduler = ReduceLROnPlateau(
        optimizer,
        mode="max" if recipe.greater_is_better else "min",
        factor=recipe.lr_step_factor,
        patience=recipe.lr_plateau_patience,
        threshold=recipe.lr_plateau_threshold,
        min_lr=recipe.min_learning_rate,
    )
    rate, falls = recipe.learning_rate, []
    for row in history:
        if row["epoch"] <= recipe.warmup_epochs:
            continue
        score, _ = recipe.best_of([row])
        scheduler.step(score if recipe.greater_is_better else -score)
        if optimizer.param_groups[0]["lr"] < rate:
            rate = optimizer.param_groups[0]["lr"]
            falls.append((row["epoch"], rate))
    return falls
