"""`resnet50 plan --nodes`: how a recipe scales from one GPU to 1024, on one screen and in one picture."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from resnet50_recipe.durations import duration
from resnet50_recipe.errors import UserError

from ..plan import Plan, complaints
from ..scaling import (
    IMAGE_BYTES,
    IMAGES_PER_CORE,
    LARGE_BATCH,
    NUM_GPUS,
    Cluster,
    Scaled,
    gradient_bytes,
    limits,
    scaled,
    strong_scaling,
    weak_scaling,
)


_COLORS = {
    "computing": "tab:blue", "launching": "tab:orange", "node": "tab:green", "network": "tab:red",
    "stragglers": "tab:purple",
}  # fmt: skip


def show_scaling(plan: Plan, cluster: Cluster, device: str, console: Console | None = None) -> None:
    """
    One screen of text, for the plan's number of processes.

    Raises:
        UserError: there are more of them than images in a step.
    """
    console = console or Console(highlight=False, soft_wrap=True)
    recipe, batch = plan.recipe, plan.recipe.total_train_batch_size
    here = _as_planned(plan, cluster)
    console.print(
        f"{here.num_nodes} × {cluster.gpus_per_node} {device}, {cluster.network:g} Gbit/s a node: "
        f"{here.images_per_second:,.0f} images/s, {here.efficiency:.0%} of as many single GPUs; "
        f"{recipe.num_train_epochs} epochs in {duration(plan.total_steps * here.seconds)}"
    )
    strong, weak = _both_ways(plan, cluster)
    local = weak[0].local_batch_size
    tables = {
        f"The recipe as it is, {batch:,} images a step": strong,
        f"Other recipes: {local:,.0f} images a GPU, the learning rate in proportion": weak,
    }
    for title, points in tables.items():
        console.print(f"\n[bold]{title}[/bold]")
        console.print(" GPUs      batch    a GPU    step  gradients   images/s     %    GB/s a node  cores  limit")
        for point in points:
            console.print(_row(point), style="bold" if point.num_gpus == plan.num_processes else None)
    console.print(
        "\nstep, gradients: milliseconds; the gradients travel while backward runs. %: of as many single GPUs. GB/s: "
        f"{IMAGE_BYTES['raw'] / 1e3:.0f} kB an image, or {IMAGE_BYTES['packed'] / 1e3:.0f} packed. cores: a GPU's, to "
        f"decode them as they are. limit: what costs most, GPU if less than a tenth is lost. Without evaluation. By "
        f"{cluster.images_per_second:,.0f} images/s of one GPU at 224 pixels. Formulas: docs/multi-node.md\n"
    )
    for sentence in limits(plan, cluster):
        console.print(f"- {sentence}.", markup=False)
    for complaint in complaints(plan):
        console.print(f"! {complaint}", markup=False)


def scaling_as_numbers(plan: Plan, cluster: Cluster) -> dict[str, Any]:
    """
    For programs: what `show_scaling` shows, times in seconds.

    Raises:
        UserError: as `show_scaling`.
    """
    here = _as_planned(plan, cluster)
    strong, weak = _both_ways(plan, cluster)
    return {
        **asdict(cluster),
        "planned": _numbers(here),
        "hours": plan.total_steps * here.seconds / 3600,
        "strong_scaling": [_numbers(point) for point in strong],
        "weak_scaling": [_numbers(point) for point in weak],
        "limits": limits(plan, cluster),
        "complaints": complaints(plan),
    }


def _numbers(point: Scaled) -> dict[str, Any]:
    derived = ("seconds", "local_batch_size", "images_per_second", "efficiency", "limit")
    return {**asdict(point), **{name: getattr(point, name) for name in derived}}


def _as_planned(plan: Plan, cluster: Cluster) -> Scaled:
    recipe, batch = plan.recipe, plan.recipe.total_train_batch_size
    if plan.num_processes * recipe.gradient_accumulation_steps > batch:
        raise UserError(
            f"{plan.num_processes:,} GPUs × {recipe.gradient_accumulation_steps} accumulation steps are more than the "
            f"{batch:,} images of a step: fewer nodes, or a larger total_train_batch_size"
        )
    return scaled(plan, cluster, plan.num_processes, batch)


def _both_ways(plan: Plan, cluster: Cluster) -> tuple[list[Scaled], list[Scaled]]:
    counts = sorted({*NUM_GPUS, plan.num_processes})
    return strong_scaling(plan, cluster, counts), weak_scaling(plan, cluster, counts)


def _row(point: Scaled) -> str:
    raw, packed = (point.node_images_per_second * size / 1e9 for size in IMAGE_BYTES.values())
    cores = point.images_per_second / point.num_gpus / IMAGES_PER_CORE["raw"]
    return (
        f"{point.num_gpus:>5,}  {point.total_batch_size:>9,}  {point.local_batch_size:>7,.4g}  "
        f"{1000 * point.seconds:>6,.0f}  {1000 * point.traffic:>9.1f}  {point.images_per_second:>9,.0f}  "
        f"{100 * point.efficiency:>4.0f}  {raw:>5.2f} or {packed:4.2f}  {cores:>5.1f}  {point.limit}"
    )


def draw_scaling(plan: Plan, cluster: Cluster, name: str, path: Path) -> None:
    """Images a second over GPUs, and what a GPU's time goes to, for both ways to scale, as a PNG."""
    from matplotlib.figure import Figure  # half a second, when the numbers are on the terminal already

    ways = {
        f"the recipe as it is: {plan.recipe.total_train_batch_size:,} images a step": strong_scaling(plan, cluster),
        "a batch that grows with the GPUs": weak_scaling(plan, cluster),
    }
    figure = Figure(figsize=(10, 8), layout="constrained")
    figure.suptitle(
        f"{name}: {cluster.gpus_per_node} GPUs and {cluster.network:g} Gbit/s a node, "
        f"{gradient_bytes(plan) / 1e6:.0f} MB of gradients a step"
    )
    panels = figure.subplot_mosaic([["speed", "speed"], list(ways)], height_ratios=[3, 2])
    speed = panels["speed"]
    rate = cluster.images_per_second / plan.image_cost
    speed.plot(NUM_GPUS, [n * rate for n in NUM_GPUS], ":", color="grey", label="as many single GPUs")
    for (way, points), style in zip(ways.items(), ("o-", "s-")):
        speed.plot([p.num_gpus for p in points], [p.images_per_second for p in points], style, label=way)
    large = [p for p in points if p.total_batch_size > LARGE_BATCH]
    speed.plot(
        [p.num_gpus for p in large], [p.images_per_second for p in large], "s", color="tab:orange", mfc="white",
        label=f"…to more than {LARGE_BATCH:,} images a step",
    )  # fmt: skip
    speed.set_xscale("log", base=2)
    speed.set_yscale("log")
    speed.set(xlabel="GPUs", ylabel="images per second", xticks=NUM_GPUS, xticklabels=NUM_GPUS)
    speed.legend()
    speed.grid(alpha=0.3)
    for way, points in ways.items():
        ticks = [str(p.num_gpus) for p in points]
        shares = {"computing": [p.efficiency for p in points]}
        shares |= {loss: [p.losses[loss] / p.seconds for p in points] for loss in points[0].losses}
        panels[way].stackplot(ticks, *shares.values(), labels=shares, colors=[_COLORS[share] for share in shares])
        panels[way].set(title=way, xlabel="GPUs", ylabel="share of a step", ylim=(0, 1), xmargin=0)
    figure.legend(*panels[way].get_legend_handles_labels(), loc="outside lower center", ncols=len(_COLORS))
    figure.savefig(path, dpi=120, format="png")
