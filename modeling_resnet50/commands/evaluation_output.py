"""What `resnet50 evaluate` says and writes of its results."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from resnet50_recipe.terminal import in_table, say
from resnet50_recipe.words import counted, says_something

from ..data.file_names import without_path
from ..evaluation.class_report import AVERAGES, SHOWN_AVERAGES
from ..evaluation.results import to_json, write_results
from ..evaluation.statistics import TEMPERATURES, allowed_digits
from ..hub.eval_results import both_in_words, protocol_in_words, write_eval_results
from ..hub.exporting import is_in_training, renew_card_of_run
from .abstaining import keep_threshold


_SHOWN = 5  # of the worst classes and confusions
_DETAILS = ("threshold", "foreign", "metrics", "suites")  # in --json as in results.json
_SHARES = {"top-1": "top1", "top-5": "top5"}


def report(results: dict[str, Any], output: Path | None, as_json: bool) -> None:
    """
    Tell results where they belong: the card of a model in a run, files, and the terminal.

    Args:
        results: laid out as results.json.
        output: a folder for files.
        as_json: a line of JSON for each model, instead of tables.
    """
    dataset, models = results["dataset"], results["models"]
    if dataset is not None:
        for name, result in models.items():
            if result["by_transformers"] is not None:
                _tell_the_card(Path(name), dataset["name"], result)
            if result["threshold"] is not None:
                _keep_threshold(name, result, dataset["name"])
            if output is not None and result["probe"] is None:
                folder = folder_of(name, list(models), output)
                write_eval_results(folder, Path(name).name or "model", dataset, result)
    if output is not None:
        write_results(output / "results.json", results)
    if as_json:
        for name, result in models.items():
            say(to_json(_flat(name, result)))
        return
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if dataset is not None and len(models) == 1:
        (result,) = models.values()
        _show_one(console, result)
    elif dataset is not None:
        _show_several(console, results)
    if results["suites_absent"] or any(result["suites"] for result in models.values()):
        _show_suites(console, results)
    if output is not None:
        page = output / "report.html"
        to_look_at = f"; to look at: {in_table(page)}" if page.exists() else ""
        console.print(f"wrote {in_table(output)}{to_look_at}")


def folder_of(name: str, models: list[str], output: Path) -> Path:
    """Within `output`, for the files about one of the models."""
    return output if len(models) == 1 else output / _file_name(name)


def _keep_threshold(name: str, result: dict[str, Any], dataset_name: str) -> None:
    found = result["threshold"]
    if found["threshold"] is None:
        say(f"{name}: no confidence makes {found['wanted_precision']:.1%} of the answers right", file=sys.stderr)
    elif keep_threshold(Path(name).expanduser(), result, dataset_name):
        say(f"{name}: its config.json has the threshold, which resnet50 predict goes by", file=sys.stderr)
    else:
        why = "no folder of ours, a run that still trains, or other images than its own"
        say(f"{name}: the threshold is not kept: {why}", file=sys.stderr)


def _tell_the_card(folder: Path, dataset_name: str, result: dict[str, Any]) -> None:
    """What another preparation of the images changes, if it is a model in a run that has ended."""
    if is_in_training(folder):
        say(f"{folder}: its card is not told of the other preparation, as the run still trains", file=sys.stderr)
        return
    measured = {"dataset": without_path(dataset_name), "images": result["images"], "words": both_in_words(result)}
    renew_card_of_run(folder, both_protocols=measured)


def _flat(name: str, result: dict[str, Any]) -> dict[str, Any]:
    """The numbers most scripts want, without their intervals."""
    if "top1" not in result:
        return {"model": name, "suites": result["suites"]}
    numbers = {key: result[key]["value"] for key in ("top1", "top5", "loss")}
    numbers |= {key: result[key] for key in AVERAGES}
    others = {key: result[key] for key in ("images", "ece", "temperature", "images_per_second", *_DETAILS)}
    return {"model": name, **numbers, **others}


def _show_one(console: Console, result: dict[str, Any]) -> None:
    images = result["images"]
    if result["probe"] is not None:
        console.print(f"a {result['probe']} probe, fitted on the model's features of the training images:")
    shares = {title: key for title, key in _SHARES.items() if _is_shown(key, result)}
    values = "".join(f"{title} {_percent(result[key], images)}   " for title, key in shares.items())
    console.print(
        f"{values}loss {result['loss']['value']:.4f}   ({counted(images, 'image')}, {protocol_in_words(result)})"
    )
    if images > 1:
        intervals = "".join(f"{title} {_percents(result[key], images)}, " for title, key in shares.items())
        console.print(f"95 % intervals: {intervals}loss {result['loss']['low']:.4f} to {result['loss']['high']:.4f}")
    console.print(f"calibration error {result['ece']:.2%}; {_mended(result)}")
    _show_details(console, result)
    if result["by_transformers"] is not None:
        console.print(f"by the saved image processor, in transformers: {both_in_words(result)}")
    for name, values in result["metrics"].items():
        console.print(f"{in_table(name)}: " + ", ".join(f"{key} {value}" for key, value in values.items()))
    console.print(f"{result['images_per_second']:,.1f} images/s\n")

    worst = sorted(result["classes"], key=lambda row: row["top1"])[:_SHOWN]
    table = Table("worst classes", box=None, pad_edge=False)
    table.add_column("top-1", justify="right")
    table.add_column("images", justify="right")
    for row in worst:
        table.add_row(in_table(row["name"]), f"{row['top1']:.1%}", f"{row['images']:,}")
    console.print(table)
    if result["confusions"]:
        table = Table("most often mistaken", "for", box=None, pad_edge=False)
        table.add_column("images", justify="right")
        for row in result["confusions"][:_SHOWN]:
            table.add_row(in_table(row["name"]), in_table(row["predicted_name"]), f"{row['images']:,}")
        console.print()
        console.print(table)


def _mended(result: dict[str, Any]) -> str:
    """What a temperature does for the calibration."""
    temperature, least = result["temperature"], TEMPERATURES[0]
    if temperature in TEMPERATURES:
        trend = "smaller" if temperature == least else "larger"
        return f"of temperatures, no one is the best for these images: the {trend}, the better"
    return (
        f"{result['ece_at_temperature']:.2%} with the logits divided by {temperature:.3f}, and a loss of "
        f"{result['loss_at_temperature']:.4f}"
    )


def _show_details(console: Console, result: dict[str, Any]) -> None:
    """Averages over the classes, and when the model should rather say nothing."""
    console.print(", ".join(f"{title} {result[key]:.3f}" for key, title in SHOWN_AVERAGES.items()))
    rows = (result["coverage"][round(20 * share) - 1] for share in (0.9, 0.5))
    told = ((row["accuracy"], row["coverage"], row["threshold"]) for row in rows)
    of_each = ("{:.1%} right of {:.0%} of the images (confidence {:.2f} or more)".format(*each) for each in told)
    console.print(f"the most confident answers: {'; '.join(of_each)}")
    found = result["threshold"]
    if found is not None and found["threshold"] is not None:
        console.print(
            f"with a confidence of at least {found['threshold']:.4f}: {found['precision']:.1%} right "
            f"({found['low']:.1%} to {found['high']:.1%}) of {found['coverage']:.1%} of the images"
        )
    if result["foreign"] is not None:
        scores = result["foreign"]["scores"].items()
        of_scores = (f"{score} AUROC {of['auroc']:.3f}, FPR95 {of['fpr95']:.1%}" for score, of in scores)
        console.print(f"against {counted(result['foreign']['images'], 'foreign image')}: {'; '.join(of_scores)}")


def _show_several(console: Console, results: dict[str, Any]) -> None:
    table = Table("model", box=None, pad_edge=False)
    models = results["models"].values()
    shares = {title: key for title, key in _SHARES.items() if any(_is_shown(key, result) for result in models)}
    for name in (*(f"{title}, 95 %" for title in shares), "loss", "ECE", "images/s", "protocol"):
        table.add_column(name, justify="left" if name == "protocol" else "right", no_wrap=name != "protocol")
    for name, result in results["models"].items():
        images = result["images"]
        table.add_row(
            in_table(name),
            *(f"{_percent(result[key], images)} ({_percents(result[key], images, '–')})" for key in shares.values()),
            f"{result['loss']['value']:.4f}",
            f"{result['ece']:.2%}",
            f"{result['images_per_second']:,.1f}",
            protocol_in_words(result),
        )
    console.print(table)
    console.print()
    for name, result in results["models"].items():
        if result["by_transformers"] is not None:
            console.print(f"{in_table(name)}, by its image processor in transformers: {both_in_words(result)}")
    for row in results["comparisons"]:
        difference = row["top1_difference"]
        if row["only_first"] == row["only_second"] == 0:
            console.print(f"{in_table(row['second'])} − {in_table(row['first'])}: right on the same images")
            continue
        value, low, high = (f"{100 * difference[name]:+.2f}" for name in ("value", "low", "high"))
        console.print(
            f"{in_table(row['second'])} − {in_table(row['first'])}: {value} points of top-1 ({low} to {high}); "
            f"right alone on {row['only_second']:,} images, wrong alone on {row['only_first']:,} "
            f"(McNemar p = {row['p_value']:.2g})"
        )


def _show_suites(console: Console, results: dict[str, Any]) -> None:
    """A row for each test set, or part of one, and a column for each model."""
    table = Table("test set", box=None, pad_edge=False)
    for name in results["models"]:
        table.add_column(in_table(name), justify="right")
    lines = {name: dict(_suite_lines(result["suites"])) for name, result in results["models"].items()}
    for title in next(iter(lines.values())):
        table.add_row(in_table(title), *(model_lines[title] for model_lines in lines.values()))
    console.print()
    console.print(table)
    for sentence in results["suites_absent"].values():
        console.print(f"not there, or not whole: {in_table(sentence)}", soft_wrap=True)


def _suite_lines(suites: dict[str, Any]) -> Iterator[tuple[str, str]]:

    from ..evaluation.suites import score_parts  # with timm's labels

    for suite, scores in suites.items():
        for title, numbers in score_parts(suite, scores):
            for key, name in (("mce", "mCE"), ("top1", "top-1"), ("error", "error")):
                if key in numbers:
                    yield f"{title}, {name}", f"{numbers[key]:.2%}"


def _is_shown(key: str, result: dict[str, Any]) -> bool:
    return key == "top1" or says_something(5, result["num_labels"])


def _percent(interval: dict[str, float], images: int) -> str:
    return f"{interval['value']:.{allowed_digits(interval, images)}%}"


def _percents(interval: dict[str, float], images: int, to: str = "% to ") -> str:
    digits = allowed_digits(interval, images)
    return f"{100 * interval['low']:.{digits}f}{to}{100 * interval['high']:.{digits}f}%"


def _file_name(name: str) -> str:
    """A model's name as that of a folder."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip("-.") or "model"
