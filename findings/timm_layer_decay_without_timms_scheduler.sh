#!/usr/bin/env bash
# One would guess: create_optimizer_v2(layer_decay=0.7) gives an optimizer whose early layers learn more slowly, whatever schedules it.
# True:            it writes an lr_scale into each group, which timm's own schedulers alone read: with PyTorch's, transformers', Lightning's, or none, the stem learns as fast as the head, and nothing tells.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet timm==1.0.31 torch==2.14.1 torchvision==0.29.1 transformers==5.24.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch.optim.lr_scheduler import CosineAnnealingLR
from transformers import get_cosine_schedule_with_warmup

warnings.simplefilter("error")


def moved(make_scheduler):
    """How far one step moves a weight of the stem and one of the head, with gradients of 1."""
    model = timm.create_model("resnet50", num_classes=10)
    optimizer = create_optimizer_v2(model, "momentum", lr=0.1, weight_decay=0.0, layer_decay=0.7)
    make_scheduler(optimizer)
    weights = model.conv1.weight, model.fc.weight
    before = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    return [(old - new).mean().item() for old, new in zip(before, weights)], len({g["lr_scale"] for g in optimizer.param_groups})


print(f"timm {timm.__version__}, torch {torch.__version__}, ResNet-50, layer_decay=0.7: a first step in the stem and in the head")
schedulers = {
    "timm's": lambda optimizer: CosineLRScheduler(optimizer, t_initial=90),
    "PyTorch's": lambda optimizer: CosineAnnealingLR(optimizer, 90),
    "transformers'": lambda optimizer: get_cosine_schedule_with_warmup(optimizer, 0, 90),
    "no": lambda optimizer: None,
}
for name, make_scheduler in schedulers.items():
    (stem, head), scales = moved(make_scheduler)
    print(f"{name} scheduler: {stem:.5f} and {head:.5f} ({scales} values of lr_scale)")
    assert scales > 10 and abs(head - 0.1) < 1e-4
    assert stem < 0.001 if name == "timm's" else abs(stem - head) < 1e-4
PYTHON_CODE
