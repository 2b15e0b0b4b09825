#!/usr/bin/env bash
# One would guess: with gradient_accumulation_steps=4, accelerator.accumulate makes a step of four batches, whatever else is read in the midst of an epoch: one batch of sample pictures by next(iter(loader)), or the first ten of the validation.
# True:            a prepared loader that is left at its last batch without being asked for more (next of a loader of one batch, islice or a break that counts to its length) stays "the loader that is at its end": from there to the end of the epoch each batch is a step of a quarter, and the schedule runs four times as fast.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet accelerate==1.15.0 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import itertools
import warnings

import accelerate
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("error")
accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=4)


def loader(batches):
    return accelerator.prepare(DataLoader(TensorDataset(torch.randn(batches * 2, 3)), batch_size=2))


training, validation, samples = loader(100), loader(10), loader(1)


def all_of_it():
    return list(validation)


def first_ten_of_ten():
    return list(itertools.islice(validation, 10))


def until_a_break():
    for number, _batch in enumerate(validation):
        if number == 9:
            break


def first_nine_of_ten():
    return list(itertools.islice(validation, 9))


def next_of_one_batch():
    return next(iter(samples))


def epoch(looked_at):
    """Steps, and the learning rate at the end, of an epoch of 100 batches that looks at something after 20 of them."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=100)
    model, optimizer, schedule = accelerator.prepare(model, optimizer, schedule)
    steps = 0
    for number, (pixels,) in enumerate(training):
        with accelerator.accumulate(model):
            accelerator.backward(model(pixels).square().mean())
            optimizer.step()
            schedule.step()
            steps += accelerator.sync_gradients
            optimizer.zero_grad()
        if number == 19:
            looked_at()
    return steps, round(schedule.get_last_lr()[0], 3)


print(f"accelerate {accelerate.__version__}, 100 batches, 4 of them a step:")
for looked_at in (lambda: None, all_of_it, first_nine_of_ten, first_ten_of_ten, until_a_break, next_of_one_batch):
    steps, rate = epoch(looked_at)
    print(f"{looked_at.__name__}: {steps} steps, the rate goes from 0.1 to {rate}")
    lost = looked_at in (first_ten_of_ten, until_a_break, next_of_one_batch)
    assert (steps, rate) == ((85, 0.015) if lost else (25, 0.075))
PYTHON_CODE
