#!/usr/bin/env bash
# One would guess: prepare() sees that a loader is split already, by a DistributedSampler or by split_dataset_by_node, and leaves it so, or says something.
# True:            it splits once more, silently: of two processes each reads half of its half, and an epoch or an evaluation has half of the pictures, with a fixed order always the same half.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet accelerate==1.15.0 torch==2.14.1 datasets==5.2.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import accelerate
import datasets
import torch
from accelerate.utils import gather_object
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

warnings.filterwarnings("error", module="accelerate.data_loader")
PICTURES = 4000


def program():
    accelerator = accelerate.Accelerator(cpu=True)
    rank, ranks = accelerator.process_index, accelerator.num_processes
    numbers = TensorDataset(torch.arange(PICTURES))
    rows = datasets.Dataset.from_dict({"number": range(PICTURES)})
    stream = rows.to_iterable_dataset(num_shards=ranks)
    loaders = {
        "no sampler": DataLoader(numbers, 40),
        "a DistributedSampler": DataLoader(numbers, 40, sampler=DistributedSampler(numbers, ranks, rank, shuffle=False)),
        "split_dataset_by_node": DataLoader(split_dataset_by_node(rows, rank, ranks), 40),
        "split_dataset_by_node of a stream": DataLoader(split_dataset_by_node(stream, rank, ranks), 40),
    }
    for name, loader in loaders.items():
        epochs = []
        for _ in range(2):
            batches = [batch["number"] if isinstance(batch, dict) else batch[0] for batch in accelerator.prepare(loader)]
            epochs.append(set(gather_object([int(number) for batch in batches for number in batch])))
        if accelerator.is_main_process:
            print(f"{name}: {len(epochs[0])} of {PICTURES} pictures, {len(epochs[0] | epochs[1])} in two epochs", flush=True)
        assert len(epochs[0]) == len(epochs[0] | epochs[1]) == (PICTURES if name == "no sampler" else PICTURES // 2)


print(f"accelerate {accelerate.__version__}, datasets {datasets.__version__}, two processes", flush=True)
accelerate.debug_launcher(program, num_processes=2)
PYTHON_CODE
