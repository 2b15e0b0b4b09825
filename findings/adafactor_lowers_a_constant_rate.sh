#!/usr/bin/env bash
# One would guess: torch.optim.Adafactor(lr=0.05) without a scheduler takes steps of 0.05 of the weights' size to the end.
# True:            its lr is a bound: from step 400 on steps shrink as one over the root of the step, and param_groups still says 0.05; a scheduler that goes down comes on top.
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

weight = torch.nn.Parameter(torch.ones(4, 4))
optimizer = torch.optim.Adafactor([weight], lr=0.05, weight_decay=0)
steps = {}
for step in range(1, 1601):
    before = weight.detach().clone()
    weight.grad = torch.full((4, 4), float((-1) ** step))
    optimizer.step()
    steps[step] = ((before - weight).norm() / before.norm()).item()
print(f"torch {torch.__version__}, gradients of 1 and -1 in turn, lr {optimizer.param_groups[0]['lr']}: relative size of a step")
for step in (1, 100, 400, 800, 1600):
    print(f"step {step}: {steps[step]:.4f}")
assert abs(steps[400] - 0.05) < 3e-3 and abs(steps[1600] - 0.025) < 3e-3
PYTHON_CODE
