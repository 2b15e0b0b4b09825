#!/usr/bin/env bash
# One would guess: ignite's auto_dataloader with a sampler of one's own gives each process its part of the sampler's indices, and leaves random numbers alone.
# True:            its DistributedProxySampler calls torch.manual_seed(epoch) whenever an epoch begins: all processes, and runs of all seeds, then draw the same crops, mixup and dropout, and without set_epoch so do all epochs.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pytorch-ignite==0.5.5 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import logging
import warnings

import ignite
import ignite.distributed as idist
import torch
from torch.utils.data import DistributedSampler, TensorDataset, WeightedRandomSampler

warnings.simplefilter("ignore")
logging.disable(logging.INFO)


def draws_of(rank, seed, sampler, results):
    """What mixup would draw at the beginning of each of two epochs."""
    torch.manual_seed(seed + 1000 * rank)
    pictures = TensorDataset(torch.arange(100))
    if sampler == "weighted":
        loader = idist.auto_dataloader(pictures, batch_size=10, sampler=WeightedRandomSampler(torch.ones(100), 100))
    else:
        loader = idist.auto_dataloader(pictures, batch_size=10, shuffle=True)
    draws = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        next(iter(loader))
        draws.append(torch.rand(1).item())
    results[(sampler, seed, rank)] = draws


def program(rank, results):
    for sampler in ("plain", "weighted"):
        for seed in (1, 2):
            draws_of(rank, seed, sampler, results)


if __name__ == "__main__":
    results = torch.multiprocessing.get_context("fork").Manager().dict()
    print(f"ignite {ignite.__version__}, two processes of two runs, with seeds of their own: a draw in each of two epochs")
    with idist.Parallel(backend="gloo", nproc_per_node=2, start_method="fork") as parallel:
        parallel.run(program, results)
    for key in sorted(results.keys()):
        print("{}, run {}, process {}:".format(*key), [round(draw, 4) for draw in results[key]])
    for sampler, different in (("plain", 4), ("weighted", 1)):
        assert len({tuple(draws) for key, draws in results.items() if key[0] == sampler}) == different
PYTHON_CODE
