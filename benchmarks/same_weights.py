"""
Do two checkouts of this project train the same weights, to the last bit?

    python -m benchmarks same_weights CHECKOUT [--cifar10 FOLDER] [--only NAME …]

Each run is `train.py` of this checkout and of the other one, by the same command on the same machine; the SHA-256 of
every model that it leaves behind is compared. For changes that are to change nothing. FOLDER has CIFAR-10 as parquet
files; without it that run is left out.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from datasets import load_dataset


PROJECT = Path(__file__).parents[1]
CIFAR_IMAGES = {"train": 1280, "test": 256}
_SMALL = {
    "num_train_epochs": 3, "warmup_epochs": 1, "total_train_batch_size": 32, "image_size": 16,
    "config_overrides": {"depths": [1, 1], "hidden_sizes": [16, 32], "embedding_size": 16},
}  # fmt: skip
_GROWING = {"image_size": 32, "image_size_start": 16, "image_size_ramp": [1, 2]}
_QUARTER = {
    "stem_type": "cifar", "zero_init_residual": True, "embedding_size": 16, "hidden_sizes": [64, 128, 256, 512],
}  # fmt: skip
# By name: the recipe, its fields, and how many processes train.
RUNS: dict[str, tuple[str, dict[str, Any], int]] = {
    "digits": ("digits", {"num_train_epochs": 1, "warmup_epochs": 0.5}, 1),
    "cifar10, quarter width": (
        "cifar10", {"num_train_epochs": 2, "warmup_epochs": 0.5, "config_overrides": _QUARTER, "loader_workers": 2}, 1,
    ),
    "EMA, growing images, mixup, 2 passes a step": (
        "digits", {**_SMALL, **_GROWING, "ema_decay": 0.9, "mixup_alpha": 0.2, "gradient_accumulation_steps": 2}, 1,
    ),
    "SWA, recalibrated, clipped, LAMB": (
        "digits",
        {**_SMALL, "swa_start_epoch": 2, "batch_norm_recalibration_steps": 5, "max_grad_norm": 1, "optim": "lamb"}, 1,
    ),
    "two ranks, 2 passes a step, EMA": (
        "digits", {**_SMALL, "ema_decay": 0.9, "gradient_accumulation_steps": 2, "sync_batch_norm": True}, 2,
    ),
    "bf16": ("digits", {**_SMALL, "mixed_precision": "bf16"}, 1),
}  # fmt: skip


def models_of(checkout: Path, name: str, cifar10: Path | None) -> dict[str, str]:
    """SHA-256 of the weights in each model folder that a run leaves behind."""
    recipe, fields, processes = RUNS[name]
    with tempfile.TemporaryDirectory() as folder:
        settings = {"mixed_precision": "no", **fields, "output_dir": folder}
        settings["dataloader_num_workers"] = settings.pop("loader_workers", 0)
        if recipe == "cifar10":
            settings["dataset_name"] = cifar10
        arguments = ["--config", f"recipes/{recipe}.yaml"]
        for field, value in settings.items():
            values = value if isinstance(value, list) else [value]
            arguments += [f"--{field}", *(json.dumps(v) if isinstance(v, (dict, bool)) else str(v) for v in values)]
        launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}"] if processes > 1 else []
        environment = {**os.environ, "PYTHONPATH": str(checkout), "ACCELERATE_USE_CPU": "true"}
        subprocess.run(
            [sys.executable, *launcher, "train.py", *arguments],
            cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        files = sorted(Path(folder).glob("*/model.safetensors"))
        return {file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def write_small_cifar10(source: Path, target: Path) -> Path:
    """The first images of each split, as parquet files: enough to compare, and no more."""
    for split, count in CIFAR_IMAGES.items():
        load_dataset(str(source), split=f"{split}[:{count}]").to_parquet(target / f"{split}-00000-of-00001.parquet")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="the other one")
    parser.add_argument("--cifar10", type=Path, help="folder of CIFAR-10 as parquet files")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), help="these runs alone")
    options = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        cifar10 = options.cifar10 and write_small_cifar10(options.cifar10.resolve(), Path(folder))
        for name in options.only:
            if RUNS[name][0] == "cifar10" and cifar10 is None:
                continue
            here, there = (models_of(path.resolve(), name, cifar10) for path in (PROJECT, options.checkout))
            different += here != there
            print(f"{name}: {'the same' if here == there else 'DIFFERENT'}", flush=True)
            for model, digest in here.items():
                print(f"    {model:<14} {digest[:16]}  {there.get(model, 'none')[:16]}", flush=True)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
