#!/usr/bin/env bash
# One would guess: with DataLoaderConfiguration(use_stateful_dataloader=True), which is there for it, save_state and load_state go on within an epoch with the pictures that have not come yet, as torchdata's StatefulDataLoader does by itself.
# True:            as many come as are missing, but of another shuffle: stopped at the half, a quarter of the pictures comes twice and a quarter never; with use_seedable_sampler=True too as soon as there are workers. Only both, without workers, goes on.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet accelerate==1.15.0 torchdata==0.11.0 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import accelerate
import torch
import torchdata
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader, TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader

warnings.filterwarnings("error", module="accelerate.(data_loader|checkpointing|accelerator)")
PICTURES, BATCH, STOP = 4000, 40, 50
STORED = {}


def by_itself(workers):
    """A loader, how its place is stored, and how it is brought back."""
    loader = StatefulDataLoader(TensorDataset(torch.arange(PICTURES)), BATCH, shuffle=True, num_workers=workers)
    return loader, lambda: STORED.update(loader.state_dict()), lambda: loader.load_state_dict(STORED)


def by_accelerate(workers, seedable):
    configuration = DataLoaderConfiguration(use_stateful_dataloader=True, use_seedable_sampler=seedable)
    accelerator = accelerate.Accelerator(cpu=True, dataloader_config=configuration)
    loader = accelerator.prepare(DataLoader(TensorDataset(torch.arange(PICTURES)), BATCH, shuffle=True, num_workers=workers))
    return loader, lambda: accelerator.save_state("state"), lambda: accelerator.load_state("state")


def continued(make):
    """How many pictures an epoch of two halves gives twice, and how many never."""
    torch.manual_seed(7)
    loader, save, _ = make()
    before, after = [], []
    for step, (batch,) in enumerate(loader, 1):
        before += batch.tolist()
        if step == STOP:
            save()
            break
    torch.manual_seed(7)
    loader, _, load = make()
    load()
    for (batch,) in loader:
        after += batch.tolist()
    assert len(before) == len(after) == PICTURES / 2
    return len(set(before) & set(after)), PICTURES - len(set(before) | set(after))


print(f"accelerate {accelerate.__version__}, torchdata {torchdata.__version__}, stopped at the half of {PICTURES} pictures")
for workers in (0, 2):
    cases = {
        "StatefulDataLoader": lambda: by_itself(workers),
        "accelerate": lambda: by_accelerate(workers, False),
        "accelerate, use_seedable_sampler": lambda: by_accelerate(workers, True),
    }
    for name, make in cases.items():
        twice, never = continued(make)
        print(f"{name}, {workers} workers: {twice} twice, {never} never")
        right = name == "StatefulDataLoader" or (name.endswith("sampler") and workers == 0)
        assert twice == never == 0 if right else twice == never > PICTURES / 5
PYTHON_CODE
