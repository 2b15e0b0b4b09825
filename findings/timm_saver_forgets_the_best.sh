#!/usr/bin/env bash
# One would guess: timm's CheckpointSaver, made anew when a run goes on in its folder, keeps model_best until an epoch is better.
# True:            it knows only what it has saved itself: the first epoch after a restart replaces model_best, at 50 % as well as at 90 %, and the older ones are never counted by max_history.
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
import os
import warnings

import timm
import torch
from timm.utils import CheckpointSaver
from torch import nn

warnings.simplefilter("error")
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
os.makedirs("run")


def best_after(accuracies, first_epoch):
    """What a script does each time it is started: the saver is made, and epochs are saved with their accuracy."""
    saver = CheckpointSaver(model, optimizer, checkpoint_dir="run", max_history=2)
    for epoch, accuracy in enumerate(accuracies, start=first_epoch):
        saver.save_checkpoint(epoch, metric=accuracy)
    best = torch.load("run/model_best.pth.tar", weights_only=False)
    return best["epoch"], best["metric"], sorted(name for name in os.listdir("run") if name.startswith("checkpoint-"))


first = best_after([60.0, 90.0, 70.0], 0)
second = best_after([50.0, 55.0], 3)
print(f"timm {timm.__version__}, max_history=2; the best epoch, its accuracy, and the checkpoints")
print(f"after epochs of 60, 90 and 70 %: {first}")
print(f"after a restart and epochs of 50 and 55 %: {second}")
assert first[:2] == (1, 90.0) and second[:2] == (4, 55.0) and len(first[2]) == 2 and len(second[2]) == 4
PYTHON_CODE
