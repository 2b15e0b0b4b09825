#!/usr/bin/env bash
# One would guess: of a stream on several processes, where accelerate reads in the first process and sends each other one its part of the batch, they get the pixels that the collate function made, however the tensor lies in memory.
# True:            np.stack of pictures, from_numpy and permute(0, 3, 1, 2), as everyone makes (N, C, H, W) of pixels, lies in the order of channels_last: the memory is sent as it is and read in the other order. All but the first process train on scrambled pictures with the right labels; .contiguous() mends it, and a data set with a length is not sent.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet accelerate==1.15.0 datasets==5.2.0 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os

os.environ["OMP_NUM_THREADS"] = "1"
import warnings

import accelerate
import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader

datasets.disable_progress_bars()
PICTURES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), np.uint8)
rows = datasets.Dataset.from_dict({"pixels": list(PICTURES), "number": range(32)})


def permuted(batch):
    pixels = torch.from_numpy(np.stack([np.array(row["pixels"], np.uint8) for row in batch]))
    return {"pixels": pixels.permute(0, 3, 1, 2), "number": torch.tensor([row["number"] for row in batch])}


def contiguous(batch):
    batch = permuted(batch)
    return batch | {"pixels": batch["pixels"].contiguous()}


def program():
    warnings.simplefilter("error")
    accelerator = accelerate.Accelerator(cpu=True)
    loaders = {
        "a data set": DataLoader(rows, 8, collate_fn=permuted),
        "a stream": DataLoader(rows.to_iterable_dataset(), 8, collate_fn=permuted),
        "a stream, .contiguous()": DataLoader(rows.to_iterable_dataset(), 8, collate_fn=contiguous),
    }
    for name, loader in loaders.items():
        right = [
            np.array_equal(pixels.permute(1, 2, 0).numpy(), PICTURES[number])
            for batch in accelerator.prepare(loader)
            for pixels, number in zip(batch["pixels"], batch["number"], strict=True)
        ]
        shares = accelerate.utils.gather_object([(sum(right), len(right))])
        if accelerator.is_main_process:
            print(f"{name}: pictures that are as they were, on each process:", end=" ")
            print(", ".join(f"{good} of {number}" for good, number in shares), flush=True)
        good = [good == number for good, number in shares]
        assert good == ([True, False, False, False] if name == "a stream" else [True] * 4)
        assert name != "a stream" or sum(good for good, _ in shares[1:]) == 0


print(f"accelerate {accelerate.__version__}, torch {torch.__version__}, four processes", flush=True)
accelerate.debug_launcher(program, num_processes=4)
PYTHON_CODE
