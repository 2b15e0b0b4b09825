#!/usr/bin/env bash
# One would guess: torchdata's StatefulDataLoader, a drop-in replacement for DataLoader, gives the same order from the same seed.
# True:            another one, and yet another with workers than without, where the DataLoader has one for both: runs from before and after the change, or on other machines, see other orders.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torchdata==0.11.0 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import torch
import torchdata
from torch.utils.data import DataLoader, Dataset
from torchdata.stateful_dataloader import StatefulDataLoader


class Pictures(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return index


print(f"torchdata {torchdata.__version__}, torch {torch.__version__}: two epochs of 12 pictures, seed 0")
first = {DataLoader: [], StatefulDataLoader: []}
for workers in (0, 1):
    for kind in (DataLoader, StatefulDataLoader):
        torch.manual_seed(0)
        loader = kind(Pictures(), batch_size=4, shuffle=True, num_workers=workers)
        orders = [[int(index) for batch in loader for index in batch] for _ in range(2)]
        print(f"{kind.__name__}, {workers} workers: {orders}")
        first[kind].append(orders[0])
plain, stateful = first.values()
assert plain[0] == plain[1] and stateful[0] != stateful[1] and plain[0] not in stateful
PYTHON_CODE
