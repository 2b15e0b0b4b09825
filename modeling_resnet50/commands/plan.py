"""`resnet50 plan`: what a recipe will do and take, on one screen and in one picture."""

import argparse
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from resnet50_recipe.durations import duration
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe
from resnet50_recipe.recipe_file import parse_recipe
from resnet50_recipe.terminal import in_table, printable, say
from resnet50_recipe.words import counted

from ..data.notes import say_note
from ..evaluation.results import to_json
from ..files import replaced_file
from ..plan import (
    IMAGES_PER_SECOND,
    RUNTIME_MEMORY,
    SCALING,
    DataSize,
    Plan,
    complaints,
    data_size_of,
    make_plan,
)
from ..scaling import Cluster
from ..training.outlook import limits
from .places import place_for
from .plan_budget import show_budget
from .plan_nodes import draw_scaling, scaling_as_numbers, show_scaling


_POINTS = 2000  # of a curve
_UNITS = {"E": 1e18, "P": 1e15, "T": 1e12, "G": 1e9}
_MANY_IMAGES = 1_000_000  # nobody trains on so many with a single device


def run(options: argparse.Namespace) -> None:
    """Plan a recipe, on the terminal and as a picture, or put all recipes beside a budget."""
    for name in ("num_processes", "nodes", "gpus_per_node"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise UserError(f"--{name} must be at least 1")
    for name in ("images_per_second", "network", "budget"):
        if getattr(options, name) is not None and not getattr(options, name) > 0:
            raise UserError(f"--{name} must be positive")
    if options.nodes and options.num_processes:
        raise UserError("--num_processes is --nodes times --gpus_per_node: give --nodes or --num_processes")
    given_rate = options.images_per_second
    if options.budget is not None:
        if options.recipe or options.nodes or options.passed_on:
            raise UserError("--budget is about all recipes as they are: give no recipe, --nodes or fields beside it")
        show_budget(options.budget, options.device, options.num_processes or 8, given_rate, options.json)
        return
    if options.recipe is None:
        raise UserError("which recipe? resnet50 plan recipes/NAME.yaml, or --budget N for all of them")
    arguments = ["--config", options.recipe, *options.passed_on]
    recipe = parse_recipe(arguments)
    data = _data_size(recipe, options.num_train_images, options.num_validation_images, options.num_labels)
    num_processes = options.num_processes or (8 if data.train_images >= _MANY_IMAGES else 1)
    if options.nodes:
        num_processes = options.nodes * options.gpus_per_node
    fitting = recipe.fitting_batch_size(data.train_images, num_processes)
    if fitting != recipe.total_train_batch_size:
        say_note(f"--total_train_batch_size {fitting} for {counted(data.train_images, 'image')} (fit_batch_to_data)")
        recipe = parse_recipe([*arguments, "--total_train_batch_size", str(fitting)])
    plan, name = make_plan(recipe, data, num_processes), Path(options.recipe).stem
    picture = None
    if options.picture is not None or not options.json:
        picture = place_for(f"plan-{name}{'-nodes' if options.nodes else ''}.png", options.picture, "picture")
    if options.nodes:
        cluster = Cluster(given_rate or IMAGES_PER_SECOND[options.device], options.gpus_per_node, options.network)
        drawing = partial(draw_scaling, plan, cluster, name)
        if options.json:
            numbers = scaling_as_numbers(plan, cluster)
        else:
            show_scaling(plan, cluster, "GPUs" if given_rate else options.device)
    else:
        drawing = partial(draw, plan, name)
        if options.json:
            numbers = as_numbers(plan, given_rate)
        else:
            show(plan, given_rate)
    if picture is not None:
        with replaced_file(picture) as unfinished:
            drawing(unfinished)
    if options.json:
        say(to_json({**numbers, "picture": picture and str(picture)}))
    else:
        say()
        say(f"curves: {picture}")


def _data_size(recipe: Recipe, images: int | None, held_out: int | None, labels: int | None) -> DataSize:
    """
    As the options say; what they leave out is counted where the data is on this disk, as training would see it, or
    known.

    Raises:
        UserError: it is neither.
    """
    known = None
    if (images is None or labels is None) and Path(recipe.dataset_name).expanduser().exists():
        from ..data.sources import open_train_and_validation  # with `datasets`, for data that nobody knows

        train, validation = open_train_and_validation(recipe)
        known = DataSize(len(train), len(validation), len(train.features["label"].names))
    known = known or data_size_of(recipe)
    if known is None and (images is None or labels is None):
        raise UserError(
            f"{recipe.dataset_name} is not here to be counted: --dataset_name FOLDER, or --num_train_images N "
            "--num_labels K"
        )
    images = images or known.train_images  # type: ignore[union-attr]  # as just seen
    usual = known.validation_images if known else images // 10
    return DataSize(
        images,
        held_out or usual,
        labels or known.labels,  # type: ignore[union-attr]  # as just seen
    )


def as_numbers(plan: Plan, images_per_second: float | None = None) -> dict[str, Any]:
    """For programs: the plan's attributes under their names (sizes and memory in bytes), hours, and complaints."""
    shown = {field.name: getattr(plan, field.name) for field in fields(plan)}
    del shown["recipe"], shown["lr_at"]
    return {
        **shown,
        "data": asdict(plan.data),
        "memory": plan.memory,
        "epochs": {device: plan.epochs(rate) for device, rate in _rates(images_per_second).items()},
        "cache_size": plan.cache_size,
        "hours": {device: plan.hours(rate) for device, rate in _rates(images_per_second).items()},
        "complaints": complaints(plan),
    }


def _rates(images_per_second: float | None) -> dict[str, float]:
    return {"given": images_per_second} if images_per_second else IMAGES_PER_SECOND


def show(plan: Plan, images_per_second: float | None = None, console: Console | None = None) -> None:
    """One screen of text."""
    console = console or Console(highlight=False, soft_wrap=True)
    recipe, data = plan.recipe, plan.data
    used = plan.steps_per_epoch * recipe.total_train_batch_size
    peak = int(max(_steps(plan, 50 * _POINTS), key=plan.lr_at))
    sizes = sorted(set(plan.image_sizes))
    eval_size = recipe.eval_image_size or recipe.image_size
    rates = _rates(images_per_second)
    rows = {
        "data": f"{data.train_images:,} training and {data.validation_images:,} validation images, "
        f"{counted(data.labels, 'class')}; {counted(data.train_images - used, 'image')} of each epoch left out",
        "steps": f"{plan.steps_per_epoch:,} an epoch × {counted(recipe.num_train_epochs, 'epoch')} = "
        f"{plan.total_steps:,}{limits(recipe)}",
        "batch": f"{recipe.total_train_batch_size:,} = {counted(plan.num_processes, 'device')} × "
        f"{counted(recipe.gradient_accumulation_steps, 'accumulation step')} × {plan.local_batch_size}",
        "learning rate": f"{plan.lr_at(0):.3g} → {plan.lr_at(peak):.3g} (epoch {peak / plan.steps_per_epoch:.1f}) → "
        f"{plan.lr_at(plan.total_steps - 1):.3g}, {recipe.lr_scheduler_type}, {recipe.optim}",
        "images": f"{' → '.join(map(str, sizes))} pixels in training, {eval_size} in validation",
        "network": f"{plan.parameters:,} parameters, {plan.forward_flops / 1e9:.2f} GFLOPs forward at "
        f"{recipe.image_size} pixels",
        "teacher": f"{', '.join(recipe.teachers)}: {plan.teacher_flops / 1e9:.2f} GFLOPs an image, forward only",
        "teacher cache": _cache(plan, rates),
        "compute": f"{_operations(plan.total_flops)}, backward counted as twice forward",
        "memory": f"{plan.memory / 1e9:.1f} GB a device = {plan.model_memory / 1e9:.1f} weights, gradients, optimizer"
        f" + {plan.activation_memory / 1e9:.1f} activations + {RUNTIME_MEMORY / 1e9:.0f} runtime",
        "disk": f"{plan.disk / 1e9:.1f} GB; a checkpoint {plan.checkpoint_size / 1e6:.0f} MB, "
        f"a model {plan.model_size / 1e6:.0f} MB",
        "time": " · ".join(_time(plan, device, rate) for device, rate in rates.items()),
    }
    if not recipe.teachers:
        del rows["teacher"], rows["teacher cache"]
    for title, text in rows.items():
        console.print(f"{title:<15}{in_table(text)}")
    shown = ", ".join(f"{device} {rate:,.0f}" for device, rate in rates.items())
    share = f"{SCALING:.0%} of that on each of several"
    if images_per_second is None:
        console.print(
            f"\nTime is by images a second on one device, at 224 pixels in mixed precision: {shown}; {share}. A100: "
            "measured by NVIDIA (DeepLearningExamples); the others: by memory bandwidth (an H200 made 4 % more). The "
            "images have to come as fast, and an epoch takes a second beside. A teacher's operations count as the "
            "student's."
        )
    else:
        console.print(f"\nTime is by images a second on one device, at 224 pixels: {shown}; {share}.")
    found = complaints(plan)
    console.print()
    for complaint in found:
        console.print(f"! {printable(complaint)}", markup=False)
    if not found:
        console.print("Nothing looks wrong.")


def _operations(number: float) -> str:
    """`9.42 EFLOPs`, `6.34 TFLOPs`."""
    unit, size = next((unit, size) for unit, size in _UNITS.items() if number >= size or unit == "G")
    return f"{number / size:.3g} {unit}FLOPs"


def _time(plan: Plan, device: str, images_per_second: float) -> str:
    epochs = counted(plan.epochs(images_per_second), "epoch")
    within = "" if plan.recipe.max_hours is None else f" ({epochs} in max_hours)"
    return f"{duration(3600 * plan.hours(images_per_second))} on {plan.num_processes} × {device}{within}"


def _cache(plan: Plan, rates: dict[str, float]) -> str:
    recipe, (device, rate) = plan.recipe, next(iter(rates.items()))
    here, next_student = (
        duration(3600 * plan.hours(rate, sum(epochs)))
        for epochs in (plan.teaching[recipe.drawn_epochs :], plan.teaching)
    )
    size = f"{plan.cache_size / 1e9:,.1f} GB for {counted(recipe.drawn_epochs, 'epoch')}"
    machine = f"on {plan.num_processes} × {device}"
    if recipe.teacher_cache is None:
        return f"none; --teacher_cache FOLDER would take {size}, and save the next student {next_student} {machine}"
    return f"{size}; saves {here} {machine}, and the next student {next_student}"


def draw(plan: Plan, name: str, path: Path) -> None:
    """Learning rate, momentum and image size over the epochs, as a PNG."""
    # Half a second, when the numbers are on the terminal already.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    recipe, epochs = plan.recipe, plan.recipe.num_train_epochs
    steps = _steps(plan, _POINTS)
    figure = Figure(figsize=(8, 7), layout="constrained")
    lr, momentum, size = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1, 2])
    lr.plot([step / plan.steps_per_epoch for step in steps], [plan.lr_at(step) for step in steps])
    lr.set(title=f"{name}: {plan.total_steps:,} steps of {recipe.total_train_batch_size:,} images, {recipe.optim}")
    lr.set(ylabel="learning rate", ylim=(0, None))
    momentum.plot([0, epochs], [recipe.momentum] * 2)
    momentum.set(ylabel="momentum", ylim=(0, 1))
    size.stairs(plan.image_sizes, range(epochs + 1), baseline=None, label="training")
    size.axhline(recipe.eval_image_size or recipe.image_size, linestyle=":", color="grey", label="validation")
    size.set(ylabel="image size (pixels)", xlabel="epoch", ylim=(0, None), xlim=(0, epochs))
    size.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)
    size.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (lr, momentum, size):
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120, format="png")


def _steps(plan: Plan, most: int) -> list[int]:
    """All of them, or so many, evenly spread."""
    return np.unique(np.linspace(0, plan.total_steps - 1, most).astype(int)).tolist()
