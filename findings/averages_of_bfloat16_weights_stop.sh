#!/usr/bin/env bash
# One would guess: an exponential moving average of weights in bfloat16, by PyTorch's AveragedModel, is the one of float32, rounded.
# True:            each step is rounded away before it arrives: with a decay of 0.999 it stops after a quarter of the way, or half of it by avg_fn, for good; in float16 after three quarters, and with a decay of 0.9999 after 3 % and a quarter. timm's rounds bfloat16 at random, and arrives.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 timm==1.0.31 torchvision==0.29.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import timm
import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

warnings.simplefilter("error")


def arrived(make_average, decay, dtype):
    """Where the average of weights that go from 0 to 1 is after ten times its memory."""
    torch.manual_seed(0)
    model = nn.Linear(64, 64, bias=False).to(dtype)
    nn.init.zeros_(model.weight)
    average, update = make_average(model, decay)
    nn.init.ones_(model.weight)
    for _ in range(round(10 / (1 - decay))):
        update(model)
    return average.module.weight.float().mean().item()


def averaged(model, **how):
    average = AveragedModel(model, **how)
    average.update_parameters(model)  # the first one copies
    return average, average.update_parameters


def timms(model, decay):
    average = ModelEmaV3(model, decay=decay)
    return average, average.update


makers = {
    "AveragedModel": lambda model, decay: averaged(model, multi_avg_fn=get_ema_multi_avg_fn(decay)),
    "AveragedModel, avg_fn": lambda model, decay: averaged(model, avg_fn=get_ema_avg_fn(decay)),
    "timm's ModelEmaV3": timms,
}
print(f"torch {torch.__version__}, timm {timm.__version__}: the average of weights that went from 0 to 1")
seen = {}
for name, make_average in makers.items():
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        seen[name, dtype] = arrived(make_average, 0.999, dtype)
        print(f"{name}, {dtype}, decay 0.999: {seen[name, dtype]:.3f}")
assert all(seen[name, torch.float32] > 0.999 for name in makers) and seen["timm's ModelEmaV3", torch.bfloat16] > 0.99
assert seen["AveragedModel", torch.bfloat16] == 0.25 and seen["AveragedModel, avg_fn", torch.bfloat16] == 0.5
assert 0.7 < seen["AveragedModel", torch.float16] < 0.8
for dtype in (torch.bfloat16, torch.float16):
    slow = arrived(makers["AveragedModel"], 0.9999, dtype)
    print(f"AveragedModel, {dtype}, decay 0.9999: {slow:.3f}")
    assert slow <= 0.25
PYTHON_CODE
