"""`resnet50 plan --budget`: which recipe gives most within so many GPU-hours."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from resnet50_recipe.errors import UserError
from resnet50_recipe.header import Header, read_header
from resnet50_recipe.recipe_file import parse_recipe
from resnet50_recipe.terminal import in_table, say

from ..evaluation.results import to_json
from ..plan import IMAGES_PER_SECOND, KNOWN_DATA, Plan, make_plan


_IMAGENET = "ILSVRC/imagenet-1k"


@dataclass(frozen=True)
class Offer:
    """
    A recipe for ImageNet-1K, and what it is said to give.

    Attributes:
        name: of its file.
        header: with the top-1 of its source.
        plan: of it as it is.
    """

    name: str
    header: Header
    plan: Plan

    def gpu_hours(self, images_per_second: float) -> float:
        """Hours times devices, where one of these makes so many images of 224 pixels."""
        return self.plan.hours(images_per_second) * self.plan.num_processes


def offers(folder: Path, num_processes: int = 8) -> list[Offer]:
    """
    All recipes of a folder that train on ImageNet-1K from scratch, the best first; last those without a top-1.

    Raises:
        UserError: there are none.
    """
    found = []
    for path in sorted(folder.glob("*.yaml")):
        recipe = parse_recipe(["--config", str(path)])
        if recipe.dataset_name == _IMAGENET and recipe.model_name_or_path is None:
            plan = make_plan(recipe, KNOWN_DATA[_IMAGENET], num_processes)
            found.append(Offer(path.stem, read_header(path), plan))
    if not found:
        raise UserError(f"no recipes for ImageNet-1K in {folder}: start from the project's folder")
    return sorted(found, key=lambda offer: -(offer.header.top1 or 0))


def best_within(found: list[Offer], budget: float, images_per_second: float) -> Offer | None:
    """Of the recipes with a top-1 that take no more GPU-hours, the best; None if all take more."""
    within = [offer for offer in found if offer.header.top1 and offer.gpu_hours(images_per_second) <= budget]
    return max(within, key=lambda offer: offer.header.top1 or 0, default=None)


def show_budget(
    budget: float, device: str, num_processes: int, images_per_second: float | None = None, as_json: bool = False
) -> None:
    """All recipes beside a budget in GPU-hours, on one screen or as JSON."""
    rate = images_per_second or IMAGES_PER_SECOND[device]
    device = "given" if images_per_second else device
    found = offers(Path("recipes"), num_processes)
    best = best_within(found, budget, rate)
    if as_json:
        rows = [
            {"recipe": offer.name, "top1": offer.header.top1, "gpu_hours": offer.gpu_hours(rate)} for offer in found
        ]
        chosen = best.name if best else None
        say(to_json({"budget": budget, "device": device, "best": chosen, "recipes": rows}))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{'top-1':>6}  {'GPU-hours':>9}  {'hours':>7}   on {num_processes} × {device}, by images a second")
    for offer in found:
        top1 = f"{offer.header.top1:.1f} %" if offer.header.top1 else "–"
        mark = "→" if offer is best else " " if offer.gpu_hours(rate) <= budget else "·"
        line = f"{mark} {offer.name:<23} {offer.header.title}"
        console.print(f"{top1:>6}  {offer.gpu_hours(rate):>9,.1f}  {offer.plan.hours(rate):>7,.1f} {in_table(line)}")
    console.print()
    if best is None:
        cheapest = min(found, key=lambda offer: offer.gpu_hours(rate))
        say(f"Nothing fits into {budget:g} GPU-hours: {cheapest.name} takes {cheapest.gpu_hours(rate):.1f}.")
        return
    say(f"Within {budget:g} GPU-hours of {device}, recipes/{best.name}.yaml gives most: {best.header.top1} % top-1.")
    say("Each figure is its source's, not measured here; – where that has none for this recipe; · beyond the budget.")
