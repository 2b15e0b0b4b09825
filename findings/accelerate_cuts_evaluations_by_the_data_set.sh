#!/usr/bin/env bash
# One would guess: gather_for_metrics takes away the pictures that fill up the last batch and nothing else, whatever sampler the loader has, as of an evaluation on a sample: SubsetRandomSampler.
# True:            how many there are to keep it works out from len(dataset), not from what the sampler gives: of a sample of 48 pictures of 100, two processes judge 36, of 50 they count two twice, and one process on its own judges 44. With Subset it is right.
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
cat >program.py <<'PYTHON_CODE'
import sys
import warnings

import accelerate
import torch
from torch.utils.data import DataLoader, Subset, SubsetRandomSampler, TensorDataset

warnings.filterwarnings("error", module="accelerate.data_loader")
PICTURES, BATCH = 100, 8
SOME = 48, 50, 90
EXPECTED = {1: [(44, 44), (50, 50), (90, 90)], 2: [(36, 36), (52, 50), (84, 84)]}


def program():
    accelerator = accelerate.Accelerator(cpu=True)
    pictures = TensorDataset(torch.arange(PICTURES))
    seen = {}
    for some in SOME:
        loaders = {
            "Subset": DataLoader(Subset(pictures, range(some)), BATCH),
            "SubsetRandomSampler": DataLoader(pictures, BATCH, sampler=SubsetRandomSampler(range(some))),
        }
        for name, loader in loaders.items():
            rows = torch.cat([accelerator.gather_for_metrics(batch) for (batch,) in accelerator.prepare(loader)])
            seen[name, some] = len(rows), len(rows.unique())
            if accelerator.is_main_process:
                shown = f"{len(rows)} rows, {len(rows.unique())} pictures"
                print(f"{accelerator.num_processes} processes, {name} of {some}: {shown}", flush=True)
    assert all(seen["Subset", some] == (some, some) for some in SOME)
    assert [seen["SubsetRandomSampler", some] for some in SOME] == EXPECTED[accelerator.num_processes]


print(f"accelerate {accelerate.__version__}, some of {PICTURES} pictures in batches of {BATCH}", flush=True)
accelerate.debug_launcher(program, num_processes=2) if sys.argv[1] == "2" else program()
PYTHON_CODE
"$PYTHON" program.py 1
"$PYTHON" program.py 2
