"""
Whether it learns: `recipes/cifar10.yaml` through train.py, as a user would start it.

    python -m benchmarks.gpu.learns --data FOLDER --out FOLDER [--seconds 240] [--dry_run] [-- --field value …]

FOLDER/cifar10/*.parquet is CIFAR-10, with a train and a test split.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .record import Record


PROJECT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240, help="the run is ended after so long; its curves stay")
    parser.add_argument("--dry_run", action="store_true", help="on the CPU, at toy size, on digits")
    parser.add_argument("fields", nargs="*", help="of the recipe, for train.py")
    options = parser.parse_args()
    record = Record(options.out / "learns.json")
    run = options.out.resolve() / "cifar10_run"
    command = [sys.executable, "train.py", "--config", "recipes/cifar10.yaml", "--output_dir", str(run)]
    command += ["--overwrite_output_dir", "true"]
    if options.dry_run:
        tiny = {"depths": [1], "hidden_sizes": [8], "embedding_size": 8, "stem_type": "cifar"}
        command += ["--dataset_name", "digits", "--num_train_epochs", "1", "--warmup_epochs", "0", "--image_size", "8"]
        command += ["--mixed_precision", "no", "--dataloader_num_workers", "0", "--config_overrides", json.dumps(tiny)]
    else:
        command += ["--dataset_name", str(options.data.resolve() / "cifar10"), "--mixed_precision", "fp16"]
    record.put("command", " ".join(["train.py", *options.fields]))
    begun_at = time.monotonic()
    try:
        subprocess.run([*command, *options.fields], cwd=PROJECT, timeout=options.seconds, check=True)
        ended = "finished"
    except subprocess.TimeoutExpired:
        ended = f"cut after {options.seconds:g} s"
    except subprocess.CalledProcessError as error:
        ended = f"failed with exit code {error.returncode}"
    record.put("ended", ended)
    record.put("seconds", round(time.monotonic() - begun_at, 1))
    if (run / "metrics.jsonl").exists():
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        record.put("rows", rows)
        best = max(rows, key=lambda row: row["val_top1"])
        record.put("best", {name: best[name] for name in ("epoch", "val_top1", "val_loss")})
    for picture in ("training_curves.png", "first_batch.png"):
        if (run / picture).exists():
            shutil.copy(run / picture, options.out / f"cifar10_{picture}")


if __name__ == "__main__":
    main()
