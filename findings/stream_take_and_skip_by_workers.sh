#!/usr/bin/env bash
# One would guess: of a datasets stream, take(200) is its first 200 rows and skip(200) all others, whoever reads them: a validation set and a training set with nothing in common.
# True:            in a DataLoader's workers the 200 are shared out, so many of each worker's own shards: with none for validation and four for training, 150 of the 200 held-out pictures are trained on, and 150 others are in neither.
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
cat >split.py <<'PYTHON_CODE'
import datasets
import torch
from torch.utils.data import DataLoader


def rows(stream, workers):
    return {int(row["picture"]) for row in DataLoader(stream, batch_size=None, num_workers=workers)}


if __name__ == "__main__":
    print(f"datasets {datasets.__version__}, torch {torch.__version__}; 1000 pictures in 4 shards, 200 held out")
    stream = datasets.Dataset.from_dict({"picture": range(1000)}).to_iterable_dataset(num_shards=4)
    leaked = {}
    for for_validation, for_training in ((0, 0), (4, 4), (2, 4), (0, 4)):
        held_out = rows(stream.take(200), for_validation)
        trained = rows(stream.skip(200), for_training)
        leaked[for_validation, for_training] = len(held_out & trained)
        first = sum(picture < 200 for picture in held_out)
        print(
            f"workers {for_validation} and {for_training}: {len(held_out)} held out, {first} of them of the first 200; "
            f"{len(held_out & trained)} also trained on, {1000 - len(held_out | trained)} in neither"
        )
    assert leaked == {(0, 0): 0, (4, 4): 0, (2, 4): 100, (0, 4): 150}
PYTHON_CODE
"$PYTHON" split.py
