#!/usr/bin/env bash
# One would guess: CosineAnnealingLR(T_max=150) takes over the epoch of a run of 90 by load_state_dict, and ends at 0 in epoch 150.
# True:            the T_max of 90 is loaded too, in place of the new one: the rate is 0 in epoch 90 and then climbs, to 75 % of its peak in epoch 150; transformers' schedules take the new length, PyTorch's do not.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 transformers==5.24.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, PolynomialLR
from transformers import get_cosine_schedule_with_warmup

warnings.simplefilter("error")


def begun(make_scheduler, epochs):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9)
    return optimizer, make_scheduler(optimizer, epochs)


def rates(optimizer, scheduler, epochs):
    seen = []
    for _ in range(epochs):
        optimizer.step()
        scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


print(f"torch {torch.__version__}: 80 of 90 epochs, then made 150; the rate in epochs 90, 120 and 150")
makers = {
    "CosineAnnealingLR": CosineAnnealingLR,
    "PolynomialLR": PolynomialLR,
    "LinearLR": lambda optimizer, epochs: LinearLR(optimizer, 1.0, 0.0, epochs),
    "transformers' cosine": lambda optimizer, epochs: get_cosine_schedule_with_warmup(optimizer, 0, epochs),
}
seen = {}
for name, make_scheduler in makers.items():
    first = begun(make_scheduler, 90)
    rates(*first, 80)
    optimizer, scheduler = begun(make_scheduler, 150)
    optimizer.load_state_dict(first[0].state_dict())
    scheduler.load_state_dict(first[1].state_dict())
    seen[name] = [rate for epoch, rate in enumerate(rates(optimizer, scheduler, 70), start=81) if epoch in (90, 120, 150)]
    print(f"{name}: {[round(rate, 4) for rate in seen[name]]}")
cosine = seen["CosineAnnealingLR"]
assert cosine[0] < 1e-6 and abs(cosine[1] - 0.025) < 1e-4 and abs(cosine[2] - 0.075) < 1e-4
assert max(seen["PolynomialLR"] + seen["LinearLR"]) < 1e-6
assert abs(seen["transformers' cosine"][0] - 0.0345) < 1e-3 and seen["transformers' cosine"][2] < 1e-6
PYTHON_CODE
