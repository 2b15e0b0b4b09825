"""`resnet50 benchmark`: how fast models answer, by every runtime that is installed, and whether they answer alike."""

import argparse
import platform
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from rich.console import Console
from rich.table import Table

from resnet50_recipe.errors import UserError, in_one_line
from resnet50_recipe.terminal import in_table, say

from ..evaluation.results import to_json, versions
from ..files import replaced_file
from ..hub.backends import Backend, backends_of
from ..training.environment import cpu_name


_WARM_UPS = 2


def run(options: argparse.Namespace) -> None:
    """Measure them in turns, and show it."""
    if options.rounds < 1:
        raise UserError("--rounds must be at least 1")
    if options.threads is not None and options.threads < 1:
        raise UserError("--threads must be at least 1")
    device = _device(options.device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    about = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": versions(),
        "rounds": options.rounds,
    }
    with tempfile.TemporaryDirectory() as scratch:
        opened = [
            (name, backend)
            for number, name in enumerate(options.models)
            for backend in backends_of(name, device, torch.get_num_threads(), Path(scratch) / str(number))
        ]
        sizes = options.batch_sizes
        rows = [row for size in sizes for row in _measure(opened, size, options.image_size, options.rounds)]
    if options.json:
        say(to_json({**about, "results": rows}))
    else:
        _show(about, rows)
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        with replaced_file(options.output / "benchmark.json") as file:
            file.write_text(to_json({**about, "results": rows}, indent=1) + "\n", encoding="utf-8")
        with replaced_file(options.output / "benchmark.png") as file:
            _draw(file, about, rows)


def _device(name: str | None) -> torch.device:
    try:
        device = PartialState().device if name is None else torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: there is no such device here") from error
    return device


def _measure(
    opened: list[tuple[str, Backend]], batch_size: int, image_size: int | None, rounds: int
) -> list[dict[str, Any]]:
    """Latencies in turns, in an order of its own each round, so that what else the machine does hits all alike."""
    seconds: list[list[float]] = [[] for _ in opened]
    inputs = [_images(backend, batch_size, image_size) for _, backend in opened]
    answers = [_answer(name, backend, images) for (name, backend), images in zip(opened, inputs)]
    for round_ in range(-_WARM_UPS, rounds):
        for number in random.Random(round_).sample(range(len(opened)), len(opened)):
            started_at = time.perf_counter()
            opened[number][1].run(inputs[number])
            if round_ >= 0:
                seconds[number].append(time.perf_counter() - started_at)
    rows = []
    for (name, backend), taken, answer in zip(opened, seconds, answers):
        first = next(i for i, (other, _) in enumerate(opened) if other == name)
        p50, p95 = np.percentile(taken, [50, 95])
        rows.append(
            {
                "model": name,
                "backend": backend.name,
                "precision": backend.precision,
                "version": backend.version,
                "bytes": backend.bytes,
                "image_size": inputs[first].shape[-1],
                "batch_size": batch_size,
                "p50_ms": round(1000 * p50, 3),
                "p95_ms": round(1000 * p95, 3),
                "images_per_second": round(batch_size / p50, 2),
                "logits_difference": float(np.abs(answer - answers[first]).max()),
                "same_top1": float((answer.argmax(1) == answers[first].argmax(1)).mean()),
            }
        )
    return rows


def _images(backend: Backend, batch_size: int, image_size: int | None) -> np.ndarray:
    channels, height, width = backend.shape
    shape = (batch_size, channels, image_size or height, image_size or width)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _answer(name: str, backend: Backend, images: np.ndarray) -> np.ndarray:
    """
    Raises:
        UserError: it does not take images of that size.
    """
    try:
        return backend.run(images)
    except Exception as error:  # each runtime has its own classes
        shape = "×".join(map(str, images.shape))
        reason = in_one_line(error)[:200]
        raise UserError(f"{name} by {backend.name} does not take images of {shape}: {reason}") from error


def _show(about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    say(f"{about['device']}, {about['threads']} threads, {about['rounds']} rounds")
    table = Table(box=None)
    for heading in ("model", "runtime", "precision"):
        table.add_column(heading)
    for heading in ("batch", "p50 ms", "p95 ms", "images/s", "MB", "logits ±", "top-1"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            in_table(row["model"]),
            f"{row['backend']} {row['version']}",
            row["precision"],
            str(row["batch_size"]),
            f"{row['p50_ms']:,.1f}",
            f"{row['p95_ms']:,.1f}",
            f"{row['images_per_second']:,.1f}",
            f"{row['bytes'] / 1e6:,.1f}",
            f"{row['logits_difference']:.1g}",
            f"{row['same_top1']:.0%}",
        )
    Console(width=160 if not Console().is_terminal else None).print(table)
    say("logits ±, top-1: beside the model's first runtime, on noise")


def _draw(path: Path, about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure  # half a second

    sizes = sorted({row["batch_size"] for row in rows})
    names = list(dict.fromkeys((row["model"], row["backend"], row["precision"]) for row in rows))
    figure = Figure(figsize=(9, 1 + len(sizes) * (0.6 + 0.3 * len(names))), layout="constrained")
    for axis, size in zip(figure.subplots(len(sizes), 1, squeeze=False)[:, 0], sizes):
        shown = [row for row in rows if row["batch_size"] == size]
        places = range(len(shown))
        axis.barh(places, [row["images_per_second"] for row in shown], color="#ff9d00")
        axis.set_yticks(places, [f"{Path(row['model']).name} · {row['backend']}, {row['precision']}" for row in shown])
        axis.bar_label(axis.containers[0], [f" {row['p50_ms']:.1f} ms, 95 %: {row['p95_ms']:.1f}" for row in shown])
        axis.invert_yaxis()
        axis.margins(x=0.25)
        axis.set_title(f"batch {size}", loc="left")
        axis.set_xlabel("images/s")
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(f"{about['device']} · {about['threads']} threads", fontsize=7)
    figure.savefig(path, dpi=110, format="png")
