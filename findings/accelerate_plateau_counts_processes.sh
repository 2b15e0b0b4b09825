#!/usr/bin/env bash
# One would guess: a prepared ReduceLROnPlateau takes one step for each call: patience=10 waits for ten epochs that are no better, on any number of processes.
# True:            each call hands the same value on once per process, and the second time it is no better: on eight processes patience=10 is over after two epochs, and patience=5 lowers the rate although the loss falls in each epoch.
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
import warnings

import accelerate
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")


def epochs_at_the_first_rate(accelerator, losses, patience):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    optimizer, scheduler = accelerator.prepare(optimizer, ReduceLROnPlateau(optimizer, patience=patience))
    for epoch, loss in enumerate(losses):
        optimizer.step()
        scheduler.step(loss)
        if optimizer.param_groups[0]["lr"] < 0.1:
            return epoch + 1
    return len(losses)


def program():
    accelerator = accelerate.Accelerator(cpu=True)
    still = epochs_at_the_first_rate(accelerator, [1.0] * 30, patience=10)
    falling = epochs_at_the_first_rate(accelerator, [1 / (epoch + 1) for epoch in range(30)], patience=5)
    if accelerator.is_main_process:
        print(
            f"{accelerator.num_processes} processes: patience=10 and a loss that stays, lowered after {still} epochs; "
            f"patience=5 and a loss that falls 30 times, {'never' if falling == 30 else f'after {falling}'}",
            flush=True,
        )
    assert (still, falling) == {1: (12, 30), 2: (6, 30), 8: (2, 1)}[accelerator.num_processes]


print(f"accelerate {accelerate.__version__}", flush=True)
for processes in (1, 2, 8):
    accelerate.debug_launcher(program, num_processes=processes)
PYTHON_CODE
