"""
Does this project's loop learn as well as a plain one? The same small budget on CIFAR-10, several seeds each.

    python -m benchmarks cifar10 FOLDER [--seeds 3] [--epochs 2] [--width 16] [--out benchmarks/results]

FOLDER has CIFAR-10 as parquet files with a train and a test split. Ours is `train.py` with `recipes/cifar10.yaml` and
the other's settings. The other is written out below with timm's network, transforms, optimizer, loss and schedule,
and nothing of this project. Both: a ResNet-50 with a 3×3 stem, `width` instead of 64 channels; crops of half to all
of an image and flips, no erasing; plain SGD on 128 images a step, warm-up and decay squeezed into the epochs given.
Every run starts from weights and an order of images of its own.
"""

import io
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import matplotlib
import timm
import torch
from datasets import Dataset, load_dataset
from matplotlib.figure import Figure
from PIL import Image
from timm.data import create_transform
from timm.models.resnet import Bottleneck, ResNet
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.task import ClassificationTask
from torch import nn
from torch.utils.data import DataLoader

from .common import argument_parser


PROJECT = Path(__file__).parents[1]
BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 128, 0.1, 5e-4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CROP_SCALE = (0.5, 1.0)
WARMUP_SHARE = 0.05  # of the training
DEPTHS = (3, 4, 6, 3)


def learning_rate(batch_size: int) -> float:
    return LEARNING_RATE * batch_size / BATCH_SIZE


def ours(
    folder: Path,
    seed: int,
    epochs: int,
    width: int,
    precision: str,
    depths: tuple[int, ...] = DEPTHS,
    batch_size: int = BATCH_SIZE,
    keep: Path | None = None,
    **fields: Any,
) -> list[dict]:
    """
    Top-1 and loss after each epoch.

    Args:
        depths: blocks of each stage.
        keep: the run folder, which is removed unless it is given.
        fields: of the recipe, besides.
    """
    architecture = {
        "stem_type": "cifar", "zero_init_residual": True, "embedding_size": 64,
        "hidden_sizes": [4 * width * 2**stage for stage in range(4)], "depths": list(depths),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() if keep is None else nullcontext(keep) as output_dir:
        settings = {
            "dataset_name": folder, "output_dir": output_dir, "seed": seed, "num_train_epochs": epochs,
            "warmup_epochs": WARMUP_SHARE * epochs, "config_overrides": json.dumps(architecture),
            "total_train_batch_size": batch_size, "learning_rate": learning_rate(batch_size), "nesterov": "false",
            "label_smoothing_factor": 0.0, "random_crop_scale": list(CROP_SCALE), "random_erasing": 0.0,
            "mixed_precision": precision, "checkpoint_every_epochs": epochs, "overwrite_output_dir": "true", **fields,
        }  # fmt: skip
        arguments = []
        for name, value in settings.items():
            arguments += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
        command = [sys.executable, "train.py", "--config", "recipes/cifar10.yaml", *arguments]
        subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
        rows = (Path(output_dir) / "metrics.jsonl").read_text().splitlines()
    return [{"top1": row["val_top1"], "loss": row["train_loss"]} for row in map(json.loads, rows)]


class Images(torch.utils.data.Dataset):
    """What a script of one's own would have: PIL and a transform."""

    def __init__(self, rows: Dataset, transform):
        columns = {type(feature).__name__: name for name, feature in rows.features.items()}
        self.rows, self.image, self.label = rows, columns["Image"], columns["ClassLabel"]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int):
        row = self.rows[index]
        return self.transform(Image.open(io.BytesIO(row[self.image]["bytes"])).convert("RGB")), row[self.label]


def _network(width: int, depths: tuple[int, ...]) -> nn.Module:
    channels = tuple(width * 2**stage for stage in range(4))
    model = ResNet(Bottleneck, depths, num_classes=10, channels=channels, zero_init_last=True)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model.to(memory_format=torch.channels_last)


def plain(
    folder: Path,
    seed: int,
    epochs: int,
    width: int,
    precision: str,
    depths: tuple[int, ...] = DEPTHS,
    image_size: int = 32,
    batch_size: int = BATCH_SIZE,
    task: Any = None,
) -> list[dict]:
    """
    Top-1 and loss after each epoch, by timm and a loop.

    Args:
        depths: blocks of each stage.
        task: makes timm's training task of a model. None: cross-entropy of its outputs.
    """
    torch.manual_seed(seed)
    splits = load_dataset(str(folder))
    image = next(name for name, feature in splits["train"].features.items() if type(feature).__name__ == "Image")
    splits = splits.cast_column(image, type(splits["train"].features[image])(decode=False))
    common = {"input_size": image_size, "mean": MEAN, "std": STD, "interpolation": "bilinear"}
    train_set = Images(
        splits["train"], create_transform(**common, is_training=True, scale=CROP_SCALE, color_jitter=None)
    )
    test_set = Images(splits["test"], create_transform(**common, crop_pct=1.0))
    train_loader = DataLoader(train_set, batch_size, shuffle=True, drop_last=True, num_workers=2)
    test_loader = DataLoader(test_set, BATCH_SIZE, num_workers=2)

    model = _network(width, depths)
    peak = learning_rate(batch_size)
    optimizer = create_optimizer_v2(model, "momentum", peak, WEIGHT_DECAY, momentum=0.9, filter_bias_and_bn=False)
    steps = len(train_loader) * epochs
    warmup = round(WARMUP_SHARE * steps)
    schedule = CosineLRScheduler(
        optimizer, steps - warmup, warmup_t=warmup, warmup_lr_init=peak / warmup, warmup_prefix=True,
        t_in_epochs=False,
    )  # fmt: skip
    step, rows = 0, []
    train_task = (task or ClassificationTask)(model, criterion=nn.CrossEntropyLoss(), verbose=False)
    for _ in range(epochs):
        model.train()
        losses = []
        for pixels, labels in train_loader:
            schedule.step_update(step)
            step += 1
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = train_task(pixels.contiguous(memory_format=torch.channels_last), labels)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        correct = 0
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            for pixels, labels in test_loader:
                correct += (model(pixels).argmax(-1) == labels).sum().item()
        rows.append({"top1": correct / len(test_set), "loss": statistics.mean(losses)})
    return rows


def draw(results: dict[str, list[list[dict]]], path: Path) -> None:
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for (name, runs), colour in zip(results.items(), ("tab:blue", "tab:orange")):
        for i, run in enumerate(runs):
            for axis, key in zip(axes, ("loss", "top1")):
                axis.plot(
                    range(1, len(run) + 1), [r[key] for r in run], "o-", color=colour, label=name if i == 0 else None
                )
    for axis, label in zip(axes, ("training loss", "test top-1")):
        axis.set(xlabel="epoch", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--precision", choices=["no", "bf16"], default="bf16")
    options = parser.parse_args()
    folder = options.folder.resolve()
    results: dict[str, list[list[dict]]] = {"train.py": [], "plain loop": []}
    for seed in range(options.seeds):
        for name, run in (("train.py", ours), ("plain loop", plain)):
            start = time.monotonic()
            rows = run(folder, seed, options.epochs, options.width, options.precision)
            results[name].append(rows)
            took = time.monotonic() - start
            print(f"seed {seed}  {name:<10}  top-1 {rows[-1]['top1']:.2%}  loss {rows[-1]['loss']:.3f}  {took:.0f} s")
    finals = {name: [run[-1]["top1"] for run in runs] for name, runs in results.items()}
    for name, values in finals.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{name:<10}  {statistics.mean(values):.2%} ± {spread:.2%}")
    versions = {"torch": torch.__version__, "timm": timm.__version__, "matplotlib": matplotlib.__version__}
    record = {
        "date": time.strftime("%Y-%m-%d"), "machine": platform.processor() or platform.machine(), **versions,
        "threads": torch.get_num_threads(), "epochs": options.epochs, "width": options.width,
        "precision": options.precision, "runs": results,
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "cifar10.json").write_text(json.dumps(record, indent=1) + "\n")
    draw(results, options.out / "cifar10.png")


if __name__ == "__main__":
    main()
