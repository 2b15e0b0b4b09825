#!/usr/bin/env bash
# One would guess: load_state and skip_first_batches continue an epoch where it was: load_state brings the random states back, so the shuffle is the same.
# True:            the states are those of the middle of the epoch, and the shuffle is drawn from them anew: another order, of which the first batches are skipped; halfway, a quarter of the pictures comes twice and a quarter never. With use_seedable_sampler=True it is the same.
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
from accelerate import Accelerator, skip_first_batches
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("error")


def started(seedable):
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(use_seedable_sampler=seedable))
    set_seed(0)
    return accelerator, accelerator.prepare(DataLoader(TensorDataset(torch.arange(1000)), 10, shuffle=True))


print(f"accelerate {accelerate.__version__}: 1000 pictures, stopped and continued after 50 batches of 100")
for seedable in (False, True):
    accelerator, loader = started(seedable)
    before, undisturbed = [], []
    for step, (pictures,) in enumerate(loader, start=1):
        (before if step <= 50 else undisturbed).extend(pictures.tolist())
        if step == 50:
            accelerator.save_state("checkpoint")
    accelerator, loader = started(seedable)
    accelerator.load_state("checkpoint")
    after = [picture for (pictures,) in skip_first_batches(loader, 50) for picture in pictures.tolist()]
    never, twice = 1000 - len(set(before + after)), len(set(before) & set(after))
    print(f"use_seedable_sampler={seedable}: {never} pictures never, {twice} twice, in the same order: {after == undisturbed}")
    assert len(after) == 500 and ((never, twice) == (0, 0) if seedable else never == twice > 200)
PYTHON_CODE
