#!/usr/bin/env bash
# One would guess: pin_memory() of 1.1 GiB takes 1.1 GiB, and gives it back with the tensor.
# True:            it takes 2 GiB, the next power of two, and keeps them for the process; torch.cuda.empty_cache() does not free them.
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
import gc

import torch


def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 2**20


torch.zeros(1, device="cuda")
data = torch.ones(int(1.1 * 2**30), dtype=torch.uint8)
before = resident()
pinned = data.pin_memory()
held = resident() - before
del pinned
gc.collect()
torch.cuda.empty_cache()
kept = resident() - before
print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}: 1.1 GiB pinned take {held:.2f} GiB, deleted and empty_cache() called {kept:.2f} GiB")
assert held > 1.9 and kept > 1.9
PYTHON_CODE
