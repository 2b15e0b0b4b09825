"""
Does a long run stay the size it was? Memory, file descriptors, threads and processes of train.py, all of its workers
included, sampled while it trains small epochs on the embedded digits, with checkpoints and validation all the time.

    python -m benchmarks soak [--minutes 30]

Writes results/soak.json and results/soak.png, and ends with the growth of each from the second tenth of the time to
the last one, and exit code 1 if one grew by more than 2 %.
"""

import json
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import psutil


matplotlib.use("Agg")
import matplotlib.pyplot as plt

from .common import argument_parser


PROJECT = Path(__file__).parents[1]
SECONDS_BETWEEN_SAMPLES = 5
ALLOWED_GROWTH = 0.02
MEASURES = {
    "memory": "memory, MB (proportional set size)",
    "file_descriptors": "file descriptors",
    "threads": "threads",
    "processes": "processes",
}
SETTINGS = {
    "num_train_epochs": 100_000, "warmup_epochs": 1, "dataloader_num_workers": 1, "checkpoint_every_steps": 20,
    "checkpoint_every_epochs": 1, "keep_last": 2, "ema_decay": 0.9, "mixed_precision": "no",
    "config_overrides": "{stem_type: cifar, depths: [1, 1], hidden_sizes: [16, 32], embedding_size: 8}",
}  # fmt: skip


def sample(root: psutil.Process) -> dict[str, float] | None:
    """All processes of a run together; None if one of them has just ended."""
    try:
        processes = [root, *root.children(recursive=True)]
        return {
            "memory": sum(process.memory_full_info().pss for process in processes) / 1e6,
            "file_descriptors": sum(process.num_fds() for process in processes),
            "threads": sum(process.num_threads() for process in processes),
            "processes": len(processes),
        }
    except psutil.Error:
        return None


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    options = parser.parse_args()
    minutes = options.minutes
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "train.py", "--config", "recipes/digits.yaml", "--output_dir", f"{folder}/run"]
        command += [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
        with open(f"{folder}/log", "w") as log:
            process = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT)
        rows: list[dict[str, float]] = []
        start = None
        while process.poll() is None and (start is None or time.monotonic() < start + 60 * minutes):
            time.sleep(SECONDS_BETWEEN_SAMPLES)
            metrics = Path(f"{folder}/run/metrics.jsonl")
            if start is None and metrics.exists() and len(metrics.read_text().splitlines()) > 2:
                start = time.monotonic()  # by now, everything has been done once
            if start is not None and (values := sample(psutil.Process(process.pid))) is not None:
                rows.append({"minutes": (time.monotonic() - start) / 60, **values})
        process.send_signal(signal.SIGTERM)
        exit_code = process.wait(60)
        if exit_code != 75:
            sys.exit(f"train.py ended with exit code {exit_code}:\n{Path(f'{folder}/log').read_text()[-2000:]}")
        epochs = len(Path(f"{folder}/run/metrics.jsonl").read_text().splitlines())

    tenth = len(rows) // 10
    growth = {
        name: statistics.median(row[name] for row in rows[-tenth:])
        / statistics.median(row[name] for row in rows[tenth : 2 * tenth])
        - 1
        for name in MEASURES
    }
    options.out.mkdir(parents=True, exist_ok=True)
    facts = {"machine": f"{psutil.cpu_count()} cores, {platform.platform()}", "epochs": epochs, "growth": growth}
    (options.out / "soak.json").write_text(json.dumps({**facts, "samples": rows}) + "\n")
    figure, axes = plt.subplots(2, 2, figsize=(10, 6), sharex=True, layout="constrained")
    for axis, (name, title) in zip(axes.flat, MEASURES.items()):
        axis.plot([row["minutes"] for row in rows], [row[name] for row in rows])
        axis.set(title=title, ylim=(0, 1.2 * max(row[name] for row in rows)))
    for axis in axes[1]:
        axis.set_xlabel("minutes")
    figure.suptitle(f"train.py over {epochs} epochs of the digits, all of its processes together")
    figure.savefig(options.out / "soak.png", dpi=100)
    print(f"{epochs} epochs in {minutes:g} minutes; growth from the second tenth of the time to the last:")
    for name, value in growth.items():
        print(f"  {name:16} {value:+.2%}")
    sys.exit(any(value > ALLOWED_GROWTH for value in growth.values()))


if __name__ == "__main__":
    main()
