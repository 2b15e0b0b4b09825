"""What the benchmarks share: forms that take turns, tables, and records that say what they were measured on."""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure


RESULTS = Path(__file__).parent / "results"


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """What the command lines of all benchmarks have: `--out`, the folder for the results."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results (default: %(default)s)")
    return parser


def take_turns(
    forms: dict[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    device: torch.device | None = None,
) -> dict[str, list[float]]:
    """
    Seconds of each form in each round. All are timed once in a round, in random order, so that what else the machine
    does hits all alike; a round before the first only warms up.

    Args:
        clock: `time.perf_counter`, or `time.process_time` on a machine that others use too.
        device: waited for, where it is a GPU.
    """
    seconds: dict[str, list[float]] = {form: [] for form in forms}
    for round_ in range(-1, rounds):
        for form in random.Random(round_).sample(list(forms), len(forms)):
            started_at = clock()
            forms[form]()
            if device is not None and device.type == "cuda":
                torch.cuda.synchronize(device)
            if round_ >= 0:
                seconds[form].append(clock() - started_at)
    return seconds


def spread(values: list[float]) -> tuple[float, float]:
    """Median, and half the distance between the quartiles."""
    if len(values) == 1:
        return values[0], 0.0
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return median, (high - low) / 2


def ratios(values: dict[str, list[float]], base: str) -> dict[str, float]:
    """Each to the base, as the median over the rounds of the ratio within a round: the machine's drift cancels."""
    return {
        form: statistics.median(own / other for own, other in zip(measured, values[base]))
        for form, measured in values.items()
    }


def print_table(title: str, unit: str, values: dict[str, list[float]], base: str) -> None:
    """A Markdown table: median, spread and ratio to the base of each form."""
    print(f"\n| {title} | {unit} | ± | ratio |\n| --- | ---: | ---: | ---: |")
    to_base = ratios(values, base)
    for form, measured in values.items():
        median, half = spread(measured)
        digits = 0 if median >= 100 else 1 if median >= 10 else 2
        print(f"| {form} | {median:,.{digits}f} | {half:,.{digits}f} | {to_base[form]:.2f} |")


def hardware(device: torch.device | None = None) -> str:
    """The processor's name, and the GPU's if one is used."""
    model = "CPU"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    else:
        model = platform.processor() or model
    text = f"{model}, {os.cpu_count()} cores"
    return f"{torch.cuda.get_device_name(device)}; {text}" if device is not None and device.type == "cuda" else text


def versions(*packages: str) -> dict[str, str]:
    """Those that are installed."""
    found = {"python": platform.python_version()}
    for package in ("torch", "torchvision", "transformers", "datasets", "accelerate", "timm", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(RESULTS.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # Results themselves are written by a run, and say nothing about the code it ran.
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "..", ":!results")
        return git("rev-parse", "--short", "HEAD") + (" and changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository: a copy of the files alone
        return "unknown commit"


def _without_path(value: Any) -> Any:
    """Of a file or folder that is there, its last name: no path of this machine is of use to others."""
    is_path = isinstance(value, Path) or (isinstance(value, str) and Path(value).exists())
    return Path(value).resolve().name if is_path else value


def keep(
    name: str,
    settings: dict[str, Any],
    parts: dict[str, tuple[str, str, dict[str, list[float]]]],
    device: torch.device | None = None,
    packages: tuple[str, ...] = (),
    folder: Path = RESULTS,
) -> None:
    """
    Write `NAME.json` and `NAME.png`.

    Args:
        name: of the benchmark.
        settings: what it was run with.
        parts: title to (unit, base, values of each form in each round).
        folder: where to; made if need be.
    """
    about = {
        "date": date.today().isoformat(),
        "commit": _commit(),
        "hardware": hardware(device),
        "versions": versions(*packages),
        "settings": {setting: _without_path(value) for setting, value in settings.items() if setting != "out"},
    }
    results = {
        title: {
            "unit": unit,
            "base": base,
            "forms": {
                form: {
                    "median": round(spread(measured)[0], 4),
                    "spread": round(spread(measured)[1], 4),
                    "ratio": round(ratio, 4),
                    "rounds": [round(value, 4) for value in measured],
                }
                for (form, measured), ratio in zip(values.items(), ratios(values, base).values())
            },
        }
        for title, (unit, base, values) in parts.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(
        json.dumps({**about, "results": results}, indent=1, ensure_ascii=False) + "\n"
    )
    _draw(folder / f"{name}.png", f"{about['hardware']} · {about['date']} · {about['commit']}", parts)
    print(f"\nkept in {folder}/{name}.json and .png")


def _draw(path: Path, caption: str, parts: dict[str, tuple[str, str, dict[str, list[float]]]]) -> None:
    rows = [len(values) for _, _, values in parts.values()]
    figure = Figure(figsize=(9, 0.34 * sum(rows) + 1.1 * len(rows)), layout="constrained")
    axes = figure.subplots(len(parts), 1, height_ratios=rows, squeeze=False)[:, 0]
    for axis, (title, (unit, base, values)) in zip(axes, parts.items()):
        medians, halves = zip(*(spread(measured) for measured in values.values()))
        to_base = ratios(values, base)
        colours = ["#ff9d00" if form.startswith("ours") else "#8a94a6" for form in values]
        axis.barh(list(values), medians, xerr=halves, color=colours, ecolor="#333333", error_kw={"lw": 0.8})
        axis.bar_label(
            axis.containers[-1], [f" {median:,.4g}   ×{to_base[form]:.2f}" for form, median in zip(values, medians)],
            fontsize=8,
        )  # fmt: skip
        axis.invert_yaxis()
        # A limit far away must not make all others small: its bar goes out of the picture, its number stays.
        widest = max(median for form, median in zip(values, medians) if not form.startswith("limit"))
        axis.set_xlim(0, 1.25 * widest)
        for median, text in zip(medians, axis.texts):
            if median > widest:
                text.set_position((0, 0))
                text.xy = (min(median, 0.8 * widest), text.xy[1])
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlabel(f"{unit} (×: to {base})", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(caption, fontsize=7, color="#666666")
    figure.savefig(path, dpi=110)
