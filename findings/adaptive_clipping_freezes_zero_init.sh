#!/usr/bin/env bash
# One would guess: adaptive gradient clipping (AGC) leaves norms alone, so BatchNorm weights that begin at zero learn as they do without it.
# True:            it bounds a step by the weight's own size: from zero they move at most 1e-5 × the learning rate a step; the blocks stay switched off.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet timm==1.0.31 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import timm
import torch
from timm.utils import adaptive_clip_grad
from torch.nn.functional import cross_entropy

print(f"timm {timm.__version__}, torch {torch.__version__}: 10 steps of SGD, learning rate 0.1, momentum 0.9")
greatest = {}
for clipped in (False, True):
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=4, zero_init_last=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 4
    for _ in range(10):
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        if clipped:
            adaptive_clip_grad(model.parameters(), clip_factor=0.01)
        optimizer.step()
    last = [weight.abs().max().item() for name, weight in model.named_parameters() if name.endswith("bn2.weight")]
    greatest[clipped] = max(last)
    print(f"AGC {clipped}: greatest of the weights that began at zero {max(last):.6f}")
assert greatest[False] > 0.01 and greatest[True] < 1e-4
PYTHON_CODE
