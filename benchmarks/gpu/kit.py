"""
Everything about this project that only a GPU can show, in one command of at most nine minutes on an H100.

    python -m benchmarks gpu --data FOLDER --out FOLDER [--parts right smoke fast fed learns] [--dry_run]

    right    fp16 and bf16 train, overflow harms nothing, killed runs go on bit by bit, GPU = CPU
    smoke    NCCL, gradient compression, SyncBatchNorm, torchrun's restart
    fast     a training step beside the peers', its kernels, the limits of the card
    fed      train.py on JPEG files: does the GPU wait?
    learns   recipes/cifar10.yaml to its top-1

Each part is a process with a time limit, and writes OUT/PART.json as it goes, so that whatever ends it leaves what was
done; what it prints is in OUT/PART.log, and where it was when it was cut. Beside right the compiler fills its cache
for fast, and beside learns runs smoke; else each has the GPU to itself. FOLDER holds cifar10/*.parquet and
imagenet_samples/*.parquet; `benchmarks/gpu/carry.py` gathers them for a machine without a network, wheels too.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

from ..common import hardware, versions
from ..step import Worker
from .fast import forms
from .record import Record


PROJECT = Path(__file__).parents[2]
LIMITS = {"right": 150, "smoke": 120, "fast": 130, "fed": 100, "learns": 235}  # seconds
BESIDE = {"smoke": "learns"}  # which does not mind


class Part:
    """A part's process, and its log."""

    def __init__(self, name: str, options: argparse.Namespace):
        self.name, self.limit = name, LIMITS[name]
        self.begun_at = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.gpu.{name}", "--out", str(options.out)]
        if name in ("fed", "learns"):
            command += ["--data", str(options.data)]
        if options.dry_run:
            command.append("--dry_run")
        environment = {
            **os.environ,
            "PYTHONFAULTHANDLER": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")])),
        }
        self.log = (options.out / f"{name}.log").open("w")
        self.process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def wait(self) -> str:
        """Until it ends, or its time is over. Returns how it ended."""
        try:
            code = self.process.wait(max(0.0, self.limit - (time.monotonic() - self.begun_at)))
            ended = "finished" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            ended = f"cut after {self.limit} s"
            self.process.send_signal(signal.SIGABRT)  # Python writes all stacks into the log
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what it started, too
        self.process.wait()
        self.log.close()
        return f"{ended}, {time.monotonic() - self.begun_at:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=list(LIMITS), default=list(LIMITS))
    parser.add_argument("--dry_run", action="store_true", help="all parts on the CPU, at toy size")
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.dry_run and not torch.cuda.is_available():
        parser.error("there is no CUDA device here: --dry_run runs all parts on the CPU, at toy size")
    record = Record(options.out / "kit.json")
    device = torch.device("cpu" if options.dry_run else "cuda")
    record.put(
        "machine", {"hardware": hardware(device), "versions": versions("numpy", "pyarrow", "onnx", "onnxruntime")}
    )
    warming = _fill_compilers_cache() if "fast" in options.parts and not options.dry_run else []
    for name in [name for name in options.parts if BESIDE.get(name) not in options.parts]:
        beside = [other for other in options.parts if BESIDE.get(other) == name]
        for part in [Part(each, options) for each in (name, *beside)]:
            record.put(part.name, part.wait())
        while warming:
            warming.pop().__exit__()
    print(json.dumps(record.findings, indent=1))


def _fill_compilers_cache() -> list[Worker]:
    """One step of each compiled form: what inductor has compiled, it finds again in the next process."""
    compiled = [form for form in forms("cuda", 256, 224).values() if form.compiled and form.script == "ours"]
    workers = [Worker(form) for form in compiled]
    for worker in workers:
        worker.send(steps=1, warm_up=0)
    return workers


if __name__ == "__main__":
    main()
