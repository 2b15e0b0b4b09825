#!/usr/bin/env bash
# One would guess: a slice of a pinned tensor, .to("cuda", non_blocking=True), returns at once, and sync debug mode would tell if not.
# True:            a slice with gaps is gathered on the host first, into memory that is not pinned: the call blocks, and nothing tells.
# Needs an NVIDIA GPU. PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.11.0
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import statistics
import time
import warnings

import torch

batch = torch.zeros(256, 224, 224, 3, dtype=torch.uint8).pin_memory()
forms = {"whole": batch, "permuted": batch.permute(0, 3, 1, 2), "first images": batch[:228], "crop of each image": batch[:, :200]}
print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}: 256 images of 224 pixels, pinned")
held = {}
for name, part in forms.items():
    seconds, told = [], 0
    for _ in range(7):
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            begun_at = time.perf_counter()
            part.to("cuda", non_blocking=True)
            seconds.append(time.perf_counter() - begun_at)
        torch.cuda.set_sync_debug_mode("default")
        told += sum("called a synchronizing" in str(warning.message) for warning in caught)
    held[name] = statistics.median(seconds)
    print(f"{name}: the call takes {1000 * held[name]:.2f} ms, {told} warnings")
    assert told == 0
assert held["crop of each image"] > 5 * max(held["whole"], held["permuted"], held["first images"])
PYTHON_CODE
