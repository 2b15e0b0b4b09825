#!/usr/bin/env bash
# One would guess: two threads on one core, told to wait passively (OMP_WAIT_POLICY=passive), train about as fast as one: they take turns.
# True:            two take 7 times as long as one (22.9 and 3.0 ms a step on an EPYC): oneDNN joins its threads by barriers of its own, which spin, whatever OpenMP is told. Without oneDNN, 1.1 times.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.3.5
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat > steps.py <<'PYTHON_CODE'
import sys
import time

import torch
from torch import nn

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 1)
)
images = torch.randn(8, 3, 32, 32)
with torch.backends.mkldnn.flags(enabled=sys.argv[1] == "oneDNN"):
    for step in range(120):
        if step == 20:
            begun = time.perf_counter()
        network(images).square().mean().backward()
print((time.perf_counter() - begun) * 10)  # milliseconds a step
PYTHON_CODE
"$PYTHON" - <<'PYTHON_CODE'
import os
import platform
import subprocess
import sys

import torch

core = str(min(os.sched_getaffinity(0)))


def milliseconds(threads, by):
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    command = ["taskset", "-c", core, sys.executable, "-W", "ignore", "steps.py", by]
    return min(float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout) for _ in range(2))


print(f"torch {torch.__version__}, {platform.machine()}: one core, threads that are told to wait passively")
ratios = {}
for by in ("oneDNN", "without"):
    one, two = milliseconds(1, by), milliseconds(2, by)
    ratios[by] = two / one
    print(f"{by}: {one:.2f} ms a step in one thread, {two:.2f} in two: {two / one:.1f} times as long")
assert ratios["oneDNN"] > 3 > ratios["without"]
PYTHON_CODE
