#!/usr/bin/env bash
# One would guess: prepare() makes the processes share one order, whatever sampler a loader has: over an epoch each picture comes once.
# True:            it hands a generator to PyTorch's samplers only. A sampler of one's own that shuffles by torch.randperm draws an order in each process: after an augmentation has drawn once more in one than in the other, a quarter of the pictures comes twice and a quarter never.
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
from accelerate.utils import gather_object, set_seed
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

warnings.simplefilter("ignore")


class Shuffled(torch.utils.data.Sampler):
    def __len__(self):
        return 1000

    def __iter__(self):
        return iter(torch.randperm(1000).tolist())


def program():
    accelerator = accelerate.Accelerator(cpu=True)
    for name, sampler, draws in (("PyTorch's", SubsetRandomSampler(range(1000)), 1), ("its own", Shuffled(), 0), ("its own", Shuffled(), 1)):
        set_seed(0)
        loader = accelerator.prepare(DataLoader(TensorDataset(torch.arange(1000)), 50, sampler=sampler))
        torch.rand(draws * accelerator.process_index)  # an augmentation that is drawn in one process only
        seen = gather_object([int(picture) for (pictures,) in loader for picture in pictures])
        if accelerator.is_main_process:
            print(f"{name}, {'other' if draws else 'the same'} draws before: {len(set(seen))} pictures of 1000 in an epoch of {len(seen)}", flush=True)
        assert len(seen) == 1000 and (len(set(seen)) < 800) == (name == "its own" and draws == 1)


print(f"accelerate {accelerate.__version__}, two processes, the same seed", flush=True)
accelerate.debug_launcher(program, num_processes=2)
PYTHON_CODE
