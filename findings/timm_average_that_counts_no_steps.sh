#!/usr/bin/env bash
# One would guess: ModelEmaV3(model, decay=0.9999, use_warmup=True) warms up as it is updated: after a short training it holds the last weights, not the first.
# True:            it does not count its updates: unless update is told the step, warm-up and update_after_step are left out without a word, and after 1000 steps nine tenths of the average are the weights that training began with.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet timm==1.0.31 torch==2.14.1 torchvision==0.29.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import timm
import torch
from timm.utils import ModelEmaV3
from torch import nn

warnings.simplefilter("error")
STEPS = 1000


def average(told, **settings):
    """Of a weight that is 0 in the first ten steps and 1 in all others: how much of it is from those."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema = ModelEmaV3(model, decay=0.9999, **settings)
    for step in range(STEPS):
        nn.init.constant_(model.weight, step >= 10)
        ema.update(model, step=step) if told else ema.update(model)
    return ema.module.weight.item()


print(f"timm {timm.__version__}: an average over {STEPS} steps, what it has of the later weights, and what when update is told the step")
for settings in ({}, {"use_warmup": True}, {"update_after_step": 500}):
    untold, told = average(False, **settings), average(True, **settings)
    print(f"{settings or 'no settings'}: {untold:.3f}, {told:.3f}")
    assert abs(untold - (1 - 0.9999 ** (STEPS - 10))) < 1e-3 and (told > 0.95 if settings else abs(told - untold) < 1e-3)
PYTHON_CODE
