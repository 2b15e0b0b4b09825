#!/usr/bin/env bash
# One would guess: with automatic_checkpoint_naming and total_limit, a run that load_state() continued saves the next number, and when it is stopped again goes on from its newest checkpoint.
# True:            a new process counts from 0 again, and total_limit deletes the lowest numbers, the new ones: each save replaces the one before, load_state() takes the highest number, and the second restart loads what the first one did; all in between is lost.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet accelerate==1.15.0 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os
import warnings

import accelerate
import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from torch import nn

warnings.simplefilter("error")


def started():
    """What a script does each time it is started."""
    settings = ProjectConfiguration("run", automatic_checkpoint_naming=True, total_limit=3)
    accelerator = Accelerator(cpu=True, project_config=settings)
    model = accelerator.prepare(nn.Linear(1, 1, bias=False))  # its weight counts the steps
    nn.init.zeros_(model.weight)
    if os.path.exists("run/checkpoints"):
        accelerator.load_state()
    return accelerator, model, int(model.weight.item())


def trained(accelerator, model, saves):
    for _ in range(saves):
        with torch.no_grad():
            model.weight += 100
        accelerator.save_state()
    left = sorted(os.listdir("run/checkpoints"), key=lambda name: int(name.split("_")[1]))
    print(f"trained to step {int(model.weight.item())}; left: {', '.join(left)}")
    return left


print(f"accelerate {accelerate.__version__}: a save every 100 steps, total_limit=3")
begun = []
for saves in (8, 4, 1):
    accelerator, model, step = started()
    begun.append(step)
    print(f"started from step {step}")
    left = trained(accelerator, model, saves)
    if saves == 4:
        assert left == ["checkpoint_3", "checkpoint_6", "checkpoint_7"]
assert begun == [0, 800, 800]
PYTHON_CODE
