#!/usr/bin/env bash
# One would guess: LARS scales each layer's step by the ratio of its weights' to its gradient's norm; weight decay only adds to it.
# True:            timm's Lars does so only where weight decay is not zero, and is plain SGD elsewhere; pytorch-optimizer's does so always: ten times smaller steps here.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet timm==1.0.31 pytorch-optimizer==4.1.0 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
from importlib.metadata import version

import pytorch_optimizer
import timm.optim
import torch

generator = torch.Generator().manual_seed(0)
weights, gradient = torch.randn(8, 8, generator=generator), torch.randn(8, 8, generator=generator) / 100
print(f"timm {version('timm')}, pytorch-optimizer {version('pytorch-optimizer')}: size of a first step, as a part of the weights, lr 1, trust 0.001")
KINDS = [
    ("timm", timm.optim.Lars, {"trust_coeff": 0.001}),
    ("pytorch-optimizer", pytorch_optimizer.LARS, {"trust_coefficient": 0.001}),
]
steps = {}
for decay in (0.01, 1e-9, 0.0):
    for name, kind, trust in KINDS:
        weight = torch.nn.Parameter(weights.clone())
        optimizer = kind([weight], lr=1.0, momentum=0.9, weight_decay=decay, **trust)
        weight.grad = gradient.clone()
        optimizer.step()
        steps[name, decay] = ((weight.detach() - weights).norm() / weights.norm()).item()
        print(f"weight decay {decay}: {name} {steps[name, decay]:.6f}")
sgd = (gradient.norm() / weights.norm()).item()
assert abs(steps["timm", 0.0] - sgd) < 1e-6 and abs(steps["timm", 1e-9] - 1e-3) < 1e-5
assert abs(steps["pytorch-optimizer", 0.0] - 1e-3) < 1e-5
PYTHON_CODE
