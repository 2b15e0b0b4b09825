#!/usr/bin/env bash
# One would guess: with_indices numbers the rows of a datasets stream from its beginning to its end: index % 10 == 0 holds out every tenth, and an index names one picture.
# True:            each worker of a DataLoader numbers its own rows from 0: with four, each index comes four times, and of 101 held-out pictures, chosen in the main process, 88 are trained on.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat >number.py <<'PYTHON_CODE'
import datasets
import torch
from torch.utils.data import DataLoader


def tenth(row, index):
    return index % 10 == 0


def others(row, index):
    return index % 10 != 0


def numbered(row, index):
    return {"index": index}


def rows(stream, workers, column="picture"):
    return [int(row[column]) for row in DataLoader(stream, batch_size=None, num_workers=workers)]


if __name__ == "__main__":
    stream = datasets.Dataset.from_dict({"picture": range(1001)}).to_iterable_dataset(num_shards=8)
    held_out = set(rows(stream.filter(tenth, with_indices=True), 0))
    print(f"datasets {datasets.__version__}, torch {torch.__version__}; 1001 pictures in 8 shards, {len(held_out)} held out")
    leaked = []
    for workers in (0, 2, 4):
        indices = set(rows(stream.map(numbered, with_indices=True), workers, "index"))
        trained = set(rows(stream.filter(others, with_indices=True), workers))
        leaked.append(len(held_out & trained))
        print(f"{workers} workers: {len(indices)} different indices; of the held-out pictures {leaked[-1]} are trained on, {1001 - len(held_out | trained)} are in neither")
    assert leaked[0] == 0 and leaked[1] > 25 and leaked[2] > 50
PYTHON_CODE
"$PYTHON" number.py
