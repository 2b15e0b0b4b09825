"""
Does distillation pay in this loop, and as much as with timm's task? CIFAR-10 at a small budget, several seeds each.

    python -m benchmarks distillation FOLDER [--seeds 3] [--epochs 12] [--images 2500] [--image_size 16]

FOLDER has CIFAR-10 as parquet files with a train and a test split, of which so many images are taken at random. The
teacher is a ResNet-50 of `--teacher_width` channels that train.py trains first, for `--teacher_epochs`, on
`--teacher_images`: the student's and more, as published teachers have seen more than ImageNet-1K. Then, for each seed
and the same number of epochs, the student of `--width` channels: by train.py without a teacher, by train.py with one,
and by a plain loop with timm's `LogitDistillationTask`, with the same weights of the losses, temperature, crops and
flips.
"""

import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import timm
import torch
from datasets import load_dataset
from matplotlib.figure import Figure
from timm.task import LogitDistillationTask
from torch import Tensor, nn

from modeling_resnet50.hub.pretrained import load_teacher

from .cifar10 import MEAN, STD, ours, plain
from .common import argument_parser


ALPHA, TEMPERATURE = 0.9, 4.0
COLOURS = {"no teacher": "0.5", "train.py, teacher": "tab:blue", "timm's task, teacher": "tab:orange"}


class Logits(nn.Module):
    """A model of transformers as timm's task takes one."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.pretrained_cfg = model, {"mean": MEAN, "std": STD}

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values).logits


def take(folder: Path, images: int, test_images: int, out: Path) -> Path:
    """So many images of each split, as parquet files. Fewer are a part of more."""
    for split, count in (("train", images), ("test", test_images)):
        rows = load_dataset(str(folder), split=split)
        out.mkdir(exist_ok=True)
        rows.shuffle(seed=0).select(range(min(count, len(rows)))).to_parquet(out / f"{split}.parquet")
    return out


def run(options: Any, work: Path) -> tuple[list[dict], dict[str, list[list[dict]]]]:
    """Epochs of the teacher; and of each form, of each seed. What there is after each seed is kept."""
    source, teacher_run = options.folder.resolve(), work / "teacher"
    folder = take(source, options.images, options.test_images, work / "images")
    more = take(source, options.teacher_images, options.test_images, work / "teachers_images")
    size = {"image_size": options.image_size, "batch_size": options.batch_size}
    start = time.monotonic()
    shape = (options.precision, tuple(options.depths))
    taught = ours(more, 1000, options.teacher_epochs, options.teacher_width, *shape, keep=teacher_run, **size)
    print(f"teacher  top-1 {taught[-1]['top1']:.2%}  {time.monotonic() - start:.0f} s", flush=True)
    teacher = Logits(load_teacher(str(teacher_run / "final"))[0])

    def task(model: nn.Module, **arguments: Any) -> LogitDistillationTask:
        model.pretrained_cfg = {"mean": MEAN, "std": STD}
        weights = {"task_loss_weight": 1 - ALPHA, "distill_loss_weight": ALPHA, "temperature": TEMPERATURE}
        return LogitDistillationTask(model, teacher, **weights, **arguments)

    distilled = {
        "teacher": teacher_run / "final", "distillation_alpha": ALPHA, "distillation_temperature": TEMPERATURE
    }  # fmt: skip
    forms = {
        "no teacher": lambda *settings: ours(*settings, **size),
        "train.py, teacher": lambda *settings: ours(*settings, **size, **distilled),
        "timm's task, teacher": lambda *settings: plain(*settings, **size, task=task),
    }
    results: dict[str, list[list[dict]]] = {name: [] for name in forms}
    for seed in range(options.seeds):
        for name, form in forms.items():
            start = time.monotonic()
            results[name].append(form(folder, seed, options.epochs, options.width, *shape))
            took = time.monotonic() - start
            print(f"seed {seed}  {name:<21} top-1 {results[name][-1][-1]['top1']:.2%}  {took:.0f} s", flush=True)
        keep(options, taught, results)
    return taught, results


def keep(options: Any, taught: list[dict], results: dict[str, list[list[dict]]]) -> None:
    """Write the log and the picture."""
    settings = {name: value for name, value in vars(options).items() if name not in ("folder", "out")}
    record = {
        "date": time.strftime("%Y-%m-%d"), "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__, "timm": timm.__version__, "threads": torch.get_num_threads(),
        "settings": {**settings, "alpha": ALPHA, "temperature": TEMPERATURE}, "teacher": taught, "runs": results,
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "distillation.json").write_text(json.dumps(record, indent=1) + "\n")
    draw(taught, results, options.out / "distillation.png")


def draw(taught: list[dict], results: dict[str, list[list[dict]]], path: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for name, runs in results.items():
        curves = [[100 * row["top1"] for row in rows] for rows in runs]
        epochs = range(1, len(curves[0]) + 1)
        for values in curves:
            axis.plot(epochs, values, color=COLOURS[name], alpha=0.35, linewidth=1)
        axis.plot(epochs, [statistics.mean(at) for at in zip(*curves)], color=COLOURS[name], label=f"{name}, mean")
    axis.axhline(100 * taught[-1]["top1"], linestyle=":", color="black", label="the teacher")
    axis.set(xlabel="epoch", ylabel="test top-1 (%)")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--images", type=int, default=2500)
    parser.add_argument("--test_images", type=int, default=2000)
    parser.add_argument("--image_size", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--depths", type=int, nargs=4, default=[3, 4, 6, 3], help="blocks of each stage, of both")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--teacher_width", type=int, default=32)
    parser.add_argument("--teacher_epochs", type=int, default=8)
    parser.add_argument("--teacher_images", type=int, default=10000)
    parser.add_argument("--precision", choices=["no", "bf16"], default="bf16")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        _, results = run(options, Path(work))
    finals = {name: [rows[-1]["top1"] for rows in runs] for name, runs in results.items()}
    for name, values in finals.items():
        print(f"{name:<21} {in_words(values)}")
    # By train.py, a seed has the same first weights, order and crops with a teacher as without.
    pairs = zip(finals["train.py, teacher"], finals["no teacher"])
    print(f"teacher - none        {in_words([taught - alone for taught, alone in pairs])}, seed by seed")


def in_words(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{statistics.mean(values):.2%} ± {statistics.stdev(values) if len(values) > 1 else 0.0:.2%}"


if __name__ == "__main__":
    main()
