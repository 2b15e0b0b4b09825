#!/usr/bin/env bash
# One would guess: runs with the seeds 0, 1, 2 … see the pictures in orders that have nothing in common.
# True:            seed and epoch are added: run 1's first epoch is run 0's second, and five runs of 90 epochs share 86 orders of 94.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 accelerate==1.15.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import accelerate
import torch
from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import DistributedSampler


def by_torch(seed, epoch):
    sampler = DistributedSampler(range(500), num_replicas=1, rank=0, seed=seed)
    sampler.set_epoch(epoch)
    return tuple(sampler)


def by_accelerate(seed, epoch):
    sampler = SeedableRandomSampler(data_source=range(500), data_seed=seed)
    sampler.set_epoch(epoch)
    return tuple(sampler)


print(f"torch {torch.__version__}, accelerate {accelerate.__version__}: five seeds, 90 epochs each, 450 orders")
for name, order in {"DistributedSampler": by_torch, "SeedableRandomSampler": by_accelerate}.items():
    different = len({order(seed, epoch) for seed in range(5) for epoch in range(90)})
    print(f"{name}: {different} different ones; seed 0, epoch 1 = seed 1, epoch 0: {order(0, 1) == order(1, 0)}")
    assert different == 94 and order(0, 1) == order(1, 0)
PYTHON_CODE
