#!/usr/bin/env bash
# One would guess: two parameter groups, with and without weight decay, each have a learning rate, also where it is a tensor, as PyTorch advises for compiled optimizers: lr=torch.tensor(0.1).
# True:            both groups hold the one tensor: ReduceLROnPlateau, or a loop that says group['lr'] *= 0.1, lowers it once per group, to 0.001 instead of 0.01, and with two lambdas LambdaLR gives both groups the second one's rate.
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
import warnings

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

warnings.simplefilter("error")


def groups(lr):
    decayed, spared = (nn.Parameter(torch.ones(1)) for _ in range(2))
    return torch.optim.SGD([{"params": [decayed], "weight_decay": 1e-4}, {"params": [spared]}], lr=lr, momentum=0.9)


def plateau(optimizer):
    scheduler = ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
    for loss in (1.0, 1.0):
        optimizer.step()
        scheduler.step(loss)


def by_hand(optimizer):
    for group in optimizer.param_groups:
        group["lr"] *= 0.1


def two_lambdas(optimizer):
    scheduler = LambdaLR(optimizer, [lambda epoch: 1.0, lambda epoch: 0.1**epoch])
    optimizer.step()
    scheduler.step()


print(f"torch {torch.__version__}: the rates of two groups that begin with 0.1")
expected = {
    plateau: ([0.01, 0.01], [0.001, 0.001]),
    by_hand: ([0.01, 0.01], [0.001, 0.001]),
    two_lambdas: ([0.1, 0.01], [0.01, 0.01]),
}
for change, results in expected.items():
    for lr, wanted in zip((0.1, torch.tensor(0.1)), results, strict=True):
        optimizer = groups(lr)
        change(optimizer)
        rates = [round(float(group["lr"]), 6) for group in optimizer.param_groups]
        print(f"{change.__name__}, lr as a {type(lr).__name__}: {rates}")
        assert rates == wanted
PYTHON_CODE
