#!/usr/bin/env bash
# One would guess: clip_grad_norm_ with one infinite gradient leaves NaN everywhere (or nothing), so a check of any weight finds it.
# True:            exactly that one value becomes NaN, every other gradient 0: one weight is lost, the rest stands still.
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

print(f"torch {torch.__version__}")
for foreach in (False, True):
    weights = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.full((3,), 0.5)
    weights[0].grad[1] = float("inf")
    norm = nn.utils.clip_grad_norm_(weights, max_norm=1.0, foreach=foreach)
    after = torch.cat([weight.grad for weight in weights])
    print(f"foreach {foreach}: norm {norm.item()}, gradients {after.tolist()}")
    assert norm.isinf() and after.isnan().tolist() == [False, True, False, False, False, False]
    assert after.nan_to_num().eq(0).all()
PYTHON_CODE
