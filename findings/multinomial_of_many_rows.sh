#!/usr/bin/env bash
# One would guess: torch.multinomial over 14 million rows of equal weight (ImageNet-21k) draws each as often, to chance; 50 times each, none is missing and none comes 100 times.
# True:            float32 has no room for so many: on a GPU one row in twenty comes twice as often or more, some never; with weights of float64 one in 240 still does. 1.28 million rows (ImageNet) are drawn right.
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
import torch

rows, rounds, each = 14_000_000, 10, 5
print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}: {rows} rows of equal weight, drawn {rounds * each} times each on average")
never, often, spread = {}, {}, {}
for dtype in (torch.float32, torch.float64):
    weights, counts = torch.ones(rows, device="cuda", dtype=dtype), torch.zeros(rows, dtype=torch.int64, device="cuda")
    for _ in range(rounds):
        counts += torch.bincount(torch.multinomial(weights, each * rows, replacement=True), minlength=rows)
    never[dtype], often[dtype] = (counts == 0).sum().item(), (counts >= 2 * rounds * each).sum().item()
    spread[dtype] = (counts.double().var() / counts.double().mean()).item()
    print(f"{dtype}: never {never[dtype]}, twice as often or more {often[dtype]}, variance over mean {spread[dtype]:.2f} (1 by chance)")
assert never[torch.float32] > 0 and often[torch.float32] > 0.04 * rows and spread[torch.float32] > 10
assert often[torch.float64] > 0.003 * rows and spread[torch.float64] > 3
PYTHON_CODE
