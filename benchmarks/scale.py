"""
Does the data path hold 1.3 million rows? Time to the first batch, memory of each worker, the order of an epoch,
and what has to be kept to go on in its middle; at 13 thousand, 130 thousand and 1.3 million rows, beside the data path
of the Hugging Face example (`with_transform`, `DataLoader(shuffle=True)`), each in a process of its own.

    python -m benchmarks scale [--rows 13000 130000 1300000] [--workers 4] [--rounds 3]

Makes parquet files of small JPEGs in a temporary folder (2.5 GB at 1.3 million rows). Writes results/scale.json and
results/scale.png, and ends with exit code 1 if a worker of ours adds more than 150 MB, or more with more rows.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from resnet50_recipe.cores import available_cores


PROJECT = Path(__file__).parents[1]
LOADERS = {"ours": "ours", "example": "HF example"}
ALLOWED_MEMORY = 150.0  # MB that a worker may add
ALLOWED_GROWTH = 20.0  # MB, from the fewest rows to the most: objects of pyarrow's, one for each 1,000 rows or so
CLASSES = 1000
IMAGE_SIZE = 32  # pixels
BATCH = 256
BATCHES = 20  # before memory is looked at
MEASURES = {  # name in the record: title, unit, format
    "first_start_seconds": ("first batch, at the first start", "s", ".1f"),
    "start_seconds": ("first batch, at later starts", "s", ".2f"),
    "order_seconds": ("order of an epoch", "s", ".3f"),
    "resume_seconds": ("first batch in the middle of an epoch", "s", ".2f"),
    "state_seconds": ("keeping the place in the epoch", "ms", ".2f"),
    "state_bytes": ("…on the disk", "bytes", ".0f"),
    "worker_megabytes": ("memory that a worker adds", "MB", ".0f"),
    "total_megabytes": ("memory of all, with the pages of the data", "MB", ".0f"),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")  # common's imports take memory
    parser.add_argument("--rows", type=int, nargs="+", default=[13_000, 130_000, 1_300_000])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("LOADER", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        print(json.dumps(measure(*options.measure, options.workers)))
        return
    runs = []
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            write_rows(Path(folder, "data"), rows)
            for round_ in range(options.rounds):
                for loader in LOADERS if round_ % 2 else reversed(LOADERS):  # nobody is always first
                    found = run(loader, Path(folder), options.workers, is_first=round_ == 0)
                    runs.append({"rows": rows, "loader": loader} | found)
                    print(runs[-1], file=sys.stderr, flush=True)
    record = {**machine(), "workers": options.workers, "batch": BATCH, "rounds": options.rounds, "runs": runs}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scale.json").write_text(json.dumps(record, indent=1) + "\n")
    draw(record, options.out / "scale.png")
    print(table(record))
    workers = [median(record, rows, "ours", "worker_megabytes")[0] for rows in options.rows]
    if max(workers) > ALLOWED_MEMORY or workers[-1] - workers[0] > ALLOWED_GROWTH:
        sys.exit(f"a worker adds {' → '.join(f'{value:.0f}' for value in workers)} MB: more than is allowed")


def write_rows(folder: Path, rows: int) -> None:
    """`train` and a small `validation` as parquet: a thousand JPEGs of a few hundred bytes, again and again."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rng = np.random.default_rng(0)
    images = []
    for _ in range(1000):
        buffer = BytesIO()
        pixels = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        pixels.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=60)
        images.append(buffer.getvalue())
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=CLASSES)})
    folder.mkdir()
    per_file = 100_000
    for split, count in (("train", rows), ("validation", CLASSES)):
        files = -(-count // per_file)
        for number in range(files):
            numbers = np.arange(number * per_file, min((number + 1) * per_file, count))
            content = pa.array([images[i % 1000] for i in numbers], pa.binary())
            column = pa.StructArray.from_arrays([content, pa.nulls(len(numbers), pa.string())], ["bytes", "path"])
            schema = features.arrow_schema
            table = pa.table({"image": column, "label": pa.array(numbers % CLASSES)}).cast(schema)
            path = folder / f"{split}-{number:05}-of-{files:05}.parquet"
            pq.write_table(table, path, row_group_size=1000, use_dictionary=False)


def run(loader: str, folder: Path, workers: int, is_first: bool) -> dict[str, float]:
    """`measure` in a fresh process; the first one also makes what the later ones find in datasets' cache."""
    command = [sys.executable, __file__, "--workers", str(workers), "--measure", loader, str(folder / "data")]
    settings = {"HF_DATASETS_CACHE": folder / loader, "HF_HUB_OFFLINE": 1, "PYTHONPATH": PROJECT}
    # More workers than cores are no mistake here.
    environment = os.environ | {name: str(value) for name, value in settings.items()} | {"PYTHONWARNINGS": "ignore"}
    found = json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)
    if is_first:
        found["first_start_seconds"] = found.pop("start_seconds")
    return found


def measure(loader: str, folder: str, workers: int) -> dict[str, float]:
    """What one process finds out about one of the two data paths."""
    import datasets

    datasets.disable_progress_bars()
    return {"ours": measure_ours, "example": measure_example}[loader](folder, workers)


def measure_ours(folder: str, workers: int) -> dict[str, float]:
    import torch

    from modeling_resnet50.data.pipeline import load_training_data
    from modeling_resnet50.data.sampling import epoch_order
    from modeling_resnet50.files import replaced_file
    from modeling_resnet50.training.checkpoint import Progress
    from resnet50_recipe.training_arguments import TrainingArguments

    recipe = TrainingArguments(dataset_name=folder, image_size=IMAGE_SIZE, total_train_batch_size=BATCH)
    found = {}
    started_at = time.perf_counter()
    data = load_training_data(recipe, torch.device("cpu"), workers, 0, 1)
    sampler = data.train_loader.sampler
    sampler.start(1)
    batches = iter(data.train_loader)
    batch = next(batches)
    found["start_seconds"] = time.perf_counter() - started_at
    for _ in range(BATCHES):
        batch = next(batches)
    found |= memory()
    place = sampler.images_after(batch["number"])
    started_at = time.perf_counter()
    epoch_order(0, 2, data.num_train_images)
    found["order_seconds"] = time.perf_counter() - started_at
    started_at = time.perf_counter()
    path = Path(folder).parent / "state.json"
    with replaced_file(path) as unfinished:
        unfinished.write_text(json.dumps(asdict(Progress(images=place, layout=sampler.layout))))
    found["state_seconds"] = 1000 * (time.perf_counter() - started_at)
    found["state_bytes"] = path.stat().st_size
    started_at = time.perf_counter()
    sampler.start(1, sampler.images_per_epoch // 2 // BATCH * BATCH)
    next(iter(data.train_loader))
    found["resume_seconds"] = time.perf_counter() - started_at
    return found


def measure_example(folder: str, workers: int) -> dict[str, float]:
    """As transformers' run_image_classification_no_trainer.py: torchvision's transforms on one PIL image at a time."""
    import torch
    from accelerate import skip_first_batches
    from datasets import load_dataset
    from torch.utils.data import DataLoader
    from torchvision.transforms import Compose, Normalize, RandomHorizontalFlip, RandomResizedCrop, ToTensor

    normalize = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    transform = Compose([RandomResizedCrop(IMAGE_SIZE), RandomHorizontalFlip(), ToTensor(), normalize])

    def preprocess(rows: dict[str, list]) -> dict[str, list]:
        rows["pixel_values"] = [transform(image.convert("RGB")) for image in rows["image"]]
        return rows

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        labels = torch.tensor([row["label"] for row in rows])
        return {"pixel_values": torch.stack([row["pixel_values"] for row in rows]), "labels": labels}

    found = {}
    started_at = time.perf_counter()
    train = load_dataset(folder)["train"].with_transform(preprocess)
    loader = DataLoader(train, shuffle=True, collate_fn=collate, batch_size=BATCH, num_workers=workers)
    batches = iter(loader)
    next(batches)
    found["start_seconds"] = time.perf_counter() - started_at
    for _ in range(BATCHES):
        next(batches)
    found |= memory()
    started_at = time.perf_counter()
    iter(loader.sampler).__next__()
    found["order_seconds"] = time.perf_counter() - started_at
    started_at = time.perf_counter()
    next(iter(skip_first_batches(loader, len(loader) // 2)))
    found["resume_seconds"] = time.perf_counter() - started_at
    return found


def memory() -> dict[str, float]:
    """
    Of this process and its workers, in MB. What a worker adds is what it alone has written to: pages of the data that
    it has only read are the page cache's, which the system takes back when it needs them – dirty though they are while
    `datasets` has just written them.
    """
    this = psutil.Process()
    workers = [child for child in this.children() if "resource_tracker" not in " ".join(child.cmdline())]
    added = [
        sum(part.private_dirty for part in worker.memory_maps(grouped=False) if not part.path.endswith(".arrow"))
        for worker in workers
    ]
    unique = [worker.memory_full_info().uss for worker in workers]
    total = sum(process.memory_full_info().pss for process in (this, *workers))
    return {
        "worker_megabytes": statistics.median(added) / 1e6,
        "worker_uss_megabytes": statistics.median(unique) / 1e6,
        "total_megabytes": total / 1e6,
    }


def median(record: dict[str, Any], rows: int, loader: str, name: str) -> tuple[float, float] | None:
    """Over the rounds, and half of what the largest and the smallest differ by."""
    runs = [run for run in record["runs"] if (run["rows"], run["loader"]) == (rows, loader)]
    values = [run[name] for run in runs if name in run]
    return (statistics.median(values), (max(values) - min(values)) / 2) if values else None


def table(record: dict[str, Any]) -> str:
    """In Markdown."""
    sizes = sorted({run["rows"] for run in record["runs"]})
    lines = [
        f"{record['cpu']}, {record['cores']} cores; "
        + ", ".join(f"{name} {number}" for name, number in record["versions"].items())
        + f"; {record['workers']} workers, batches of {record['batch']}, {record['rounds']} rounds, "
        f"median ± half the range; {record['date']}, {record['commit']}",
        "",
        "| | | " + " | ".join(f"{rows:,} rows" for rows in sizes) + " |",
        "| --- | --- |" + " ---: |" * len(sizes),
    ]
    for name, (title, unit, form) in MEASURES.items():
        for loader, label in LOADERS.items():
            cells = [median(record, rows, loader, name) for rows in sizes]
            if any(cells):
                cells = [f"{cell[0]:{form}} ± {cell[1]:{form}}" if cell else "–" for cell in cells]
                lines.append(f"| {title}, {unit} | {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(record: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    sizes = sorted({run["rows"] for run in record["runs"]})
    figure = Figure(figsize=(10, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True).flat
    for panel, name in zip(panels, ("worker_megabytes", "total_megabytes", "start_seconds", "order_seconds")):
        for loader, label in LOADERS.items():
            values = [median(record, rows, loader, name) for rows in sizes]
            panel.errorbar(sizes, [v for v, _ in values], [s for _, s in values], fmt="o-", capsize=3, label=label)
        title, unit, _ = MEASURES[name]
        panel.set(title=title, ylabel=unit, xscale="log", ylim=(0, None))
        panel.set_xticks(sizes, [f"{rows:,}" for rows in sizes])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels = figure.axes
    panels[0].axhline(ALLOWED_MEMORY, linestyle=":", color="grey", label="allowed")
    panels[0].set_ylim(0, 1.1 * ALLOWED_MEMORY)
    panels[0].legend(loc="center left")
    for panel in panels[2:]:
        panel.set_xlabel("rows")
    figure.savefig(path, dpi=120)


def machine() -> dict[str, Any]:
    commit = subprocess.run(["git", "-C", PROJECT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip() or "no commit",
        "cpu": names[0] if names else platform.machine(),
        "cores": available_cores(),
        "versions": {name: version(name) for name in ("torch", "datasets", "pyarrow", "torchvision")},
    }


if __name__ == "__main__":
    main()
