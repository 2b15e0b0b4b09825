#!/usr/bin/env bash
# One would guess: OneCycleLR moves the learning rate, and SGD's momentum stays at the 0.9 that was asked for.
# True:            momentum becomes 0.95, falls to 0.85 and rises again (cycle_momentum is on): 0.9 is met only in passing.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import torch
from torch import nn

optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9, nesterov=True)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=100)
seen = []
for _ in range(99):
    seen.append(optimizer.param_groups[0]["momentum"])
    optimizer.step()
    schedule.step()
print(f"torch {torch.__version__}: momentum at step 0, 30, 60, 98: {[round(seen[step], 3) for step in (0, 30, 60, 98)]}")
assert abs(seen[0] - 0.95) < 1e-6 and abs(min(seen) - 0.85) < 1e-3
PYTHON_CODE
