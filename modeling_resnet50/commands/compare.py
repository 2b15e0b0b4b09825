"""`resnet50 compare`: several runs in one picture and one table: how their recipes differ, and what came of it."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from resnet50_recipe.errors import UserError
from resnet50_recipe.terminal import in_table, say
from resnet50_recipe.training_arguments import TrainingArguments
from resnet50_recipe.weights import Weights

from ..files import replaced_file
from ..training.curves import Course, draw_comparison
from ..training.outlook import look_ahead
from ..training.run_folder import open_run
from .places import place_for


@dataclass(frozen=True)
class RunSummary:
    """
    What a run folder says about its run.

    Attributes:
        name: of its folder, or its path where several have the same name.
        status: as `RunFolder.stands` has it.
        history: rows of metrics.jsonl; there is one at least.
        best: weights, by `metric_for_best_model`, as `Recipe.best_of` gives them.
        devices: of its last start: "8 × NVIDIA H100 80GB HBM3".
    """

    name: str
    folder: Path
    recipe: TrainingArguments
    status: str
    history: list[dict[str, Any]]
    best: Weights
    devices: str

    @property
    def results(self) -> dict[str, Any]:
        """
        Of the best weights: top-1, top-5 and loss; and of the run: epochs and what decided how many, hours, and images
        per second.
        """
        row = self.best.row(self.history) or {}
        return {
            **{name: row.get(self.best.column(name)) for name in ("val_top1", "val_top5", "val_loss")},
            "best_epoch": self.best.epoch,
            "averaged": self.best.averaged,
            "epochs": len(self.history),
            "epochs_decided_by": look_ahead(self.recipe, self.history).why,
            "hours": self.history[-1]["seconds"] / 3600,
            "images_per_second": median(row["images_per_second"] for row in self.history),
        }


def summarize(folders: list[Path]) -> list[RunSummary]:
    """
    Raises:
        UserError: a folder is not that of a run, or of one that has finished no epoch.
    """
    summaries = []
    for folder in folders:
        run, recipe = open_run(folder)
        history = run.history()
        if not history:
            raise UserError(f"{folder}: no epoch of this run is over yet, so there is nothing to compare")
        _, best = recipe.best_of(history)
        name = folder.resolve().name
        if [other.resolve().name for other in folders].count(name) > 1:
            name = str(folder)
        devices = run.sessions()[-1]["devices"] if run.sessions() else {}
        told = " + ".join(f"{count} × {device}" for device, count in devices.items())
        summaries.append(RunSummary(name, folder, recipe, run.stands(), history, best, told))
    return summaries


def differences(recipes: list[TrainingArguments]) -> dict[str, list[Any]]:
    """The fields in which they are not all the same, with the value of each, in the order of the recipe."""
    settings = [recipe.public_dict() for recipe in recipes]
    columns = {name: [each[name] for each in settings] for name in settings[0]}
    return {name: values for name, values in columns.items() if any(value != values[0] for value in values)}


def run(options: argparse.Namespace) -> None:
    """Compare runs, on the terminal and in a picture."""
    summaries = summarize(options.runs)
    picture = None
    if options.output is not None or not options.json:
        picture = place_for("comparison.png", options.output, "output")
        courses = {each.name: Course(each.history, each.best) for each in summaries}
        with replaced_file(picture) as unfinished:
            draw_comparison(courses, unfinished)
    differing = differences([each.recipe for each in summaries])
    if options.json:
        for place, each in enumerate(summaries):
            say(json.dumps({
                "name": each.name, "folder": str(each.folder), "status": each.status, "devices": each.devices,
                **each.results, "differences": {name: values[place] for name, values in differing.items()},
            }))  # fmt: skip
    else:
        _show(summaries, differing)
        say()
        say(f"curves: {picture}")


def _show(summaries: list[RunSummary], differing: dict[str, list[Any]]) -> None:
    results = [each.results for each in summaries]
    highest = max(result["val_top1"] or 0.0 for result in results)
    table = Table(Column(""), *(Column(in_table(each.name), justify="right") for each in summaries), box=None)
    for name, values in differing.items():
        table.add_row(name, *(in_table(_text(value)) for value in values))
    if not differing:
        table.add_row("recipe", *("the same" for _ in summaries))
    table.add_section()
    styles = ["bold green" if result["val_top1"] == highest else "" for result in results]
    # Of the weights in best/, which each run has chosen by a metric of its recipe.
    table.add_row("best by", *(each.recipe.metric_for_best_model for each in summaries))
    table.add_row(
        "its epoch", *(f"{each['best_epoch']}{' (average)' if each['averaged'] else ''}" for each in results)
    )
    table.add_row("its top-1", *(Text(_percent(each["val_top1"]), style) for each, style in zip(results, styles)))
    if any(each["val_top5"] != 1 for each in results):  # as it is for five classes or fewer
        table.add_row("its top-5", *(_percent(each["val_top5"]) for each in results))
    others = {each.recipe.metric_for_best_model for each in summaries} - {"val_top1", "val_top5", "val_loss"}
    for name in sorted(others):
        values = [(each.best.row(each.history) or {}).get(each.best.column(name)) for each in summaries]
        table.add_row(f"its {name.removeprefix('val_')}", *("–" if v is None else f"{v:.4f}" for v in values))
    table.add_row("its loss", *("–" if each["val_loss"] is None else f"{each['val_loss']:.4f}" for each in results))
    table.add_row("epochs", *(f"{len(each.history)} of {each.recipe.num_train_epochs}" for each in summaries))
    if any(each["epochs_decided_by"] for each in results):
        table.add_row("because of", *((each["epochs_decided_by"] or "–").partition(":")[0] for each in results))
    table.add_row("status", *(in_table(each.status) for each in summaries))
    table.add_row("hours", *(f"{each['hours']:.2f}" for each in results))
    table.add_row("images/s", *(f"{each['images_per_second']:,.0f}" for each in results))
    table.add_row("devices", *(in_table(each.devices) for each in summaries))
    Console(highlight=False).print(table)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"
