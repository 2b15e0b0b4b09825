"""
Draw docs/recipes.png: top-1 of the recipes for ImageNet-1K against GPU-hours, from their headers and by `plan`.

    python docs/draw_recipes.py [--table]

With --table, README's rows about them are printed as they have to be, but for what each source took.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from modeling_resnet50.commands.plan_budget import Offer, offers
from modeling_resnet50.plan import IMAGES_PER_SECOND


FOLDER = Path(__file__).resolve().parents[1] / "recipes"
RATE = IMAGES_PER_SECOND["A100"]
NUDGED = {"imagenet1k": -8, "rsb_a3": 4, "fast_88": 6, "fast_56": -3}  # points up, where a name would lie on another


def front(found: list[Offer]) -> list[Offer]:
    """Those that no cheaper one reaches, the cheapest first."""
    best: list[Offer] = []
    for offer in sorted(found, key=lambda offer: offer.gpu_hours(RATE)):
        if not best or (offer.header.top1 or 0) > (best[-1].header.top1 or 0):
            best.append(offer)
    return best


def draw(found: list[Offer], path: Path) -> None:
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axis = figure.subplots()
    best = front(found)
    axis.step([o.gpu_hours(RATE) for o in best], [o.header.top1 for o in best], where="post", color="tab:blue", lw=1)
    for offer in found:
        taught = bool(offer.plan.recipe.teachers)
        colour = "tab:orange" if taught else "tab:blue"
        x, y = offer.gpu_hours(RATE), offer.header.top1
        axis.plot(x, y, "s" if taught else "o", color=colour, mfc=colour if offer in best else "white")
        # The front's names stand above it, all others to the right.
        right, up, side = (-6, 3, "right") if offer in best else (7, -3, "left")
        shift = (right, up + NUDGED.get(offer.name, 0))
        axis.annotate(offer.name, (x, y), shift, textcoords="offset points", ha=side, fontsize=8, color="0.2")
    axis.set(xscale="log", xlabel="GPU-hours on A100, by plan", ylabel="top-1 (%), as the source reports it")
    axis.set_title("Recipes for ImageNet-1K: filled on the Pareto front, squares with a teacher", fontsize=10)
    axis.set_xlim(left=0.5 * min(o.gpu_hours(RATE) for o in found))
    axis.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=120)


def table(found: list[Offer]) -> None:
    for offer in found:
        top1 = f"{offer.header.top1:.1f} %" if offer.header.top1 else "not known"
        at_288 = f"{offer.header.top1_at_288:.1f} %" if offer.header.top1_at_288 else ""
        name = f"[`{offer.name}`](recipes/{offer.name}.yaml)"
        print(f"| {name} | {top1} | {at_288} | {offer.gpu_hours(RATE):,.0f} | … |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true")
    found = offers(FOLDER)
    if parser.parse_args().table:
        table(found)
    else:
        draw([offer for offer in found if offer.header.top1], Path(__file__).with_name("recipes.png"))


if __name__ == "__main__":
    main()
