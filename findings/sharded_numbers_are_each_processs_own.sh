#!/usr/bin/env bash
# One would guess: under FSDP2 (fully_shard) a weight or gradient is a DTensor, which stands for the whole: weight.norm().item() is its norm, on all processes alike, as it was under DistributedDataParallel, or it is refused.
# True:            item() and float() of a norm, sum, mean, max, min or count give the process's own share, without a word: of two processes one logs 0 and the other 10.1 for a norm of 10.1, and a mean is twice the mean on one. any() is right, so is weight.norm() > 5, and clip_grad_norm_ too; else .full_tensor() comes first.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat >program.py <<'PYTHON_CODE'
import os
import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

PROCESSES = 2
NUMBERS = {
    "norm": lambda weight: weight.norm(),
    "sum": lambda weight: weight.sum(),
    "mean": lambda weight: weight.mean(),
    "max": lambda weight: weight.max(),
    "count_nonzero": lambda weight: weight.count_nonzero(),
    "any above 1": lambda weight: (weight > 1).any(),
    "norm above 5": lambda weight: weight.norm() > 5,
}


def program(rank):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": os.environ["PORT"]}
    dist.init_process_group("gloo", rank=rank, world_size=PROCESSES)
    warnings.simplefilter("error")
    model = nn.Linear(25, 8, bias=False)
    nn.init.zeros_(model.weight)
    nn.init.constant_(model.weight.detach()[4:], 1.0)
    model.weight.detach()[7, 0] = 2.0
    whole = model.weight.detach().clone()
    fully_shard(model, mesh=init_device_mesh("cpu", (PROCESSES,)))
    for name, number in NUMBERS.items():
        result = number(model.weight.detach())
        assert result.shape == () and type(result).__name__ == "DTensor"
        own, full, right = [None] * PROCESSES, result.full_tensor().item(), number(whole).item()
        dist.all_gather_object(own, result.item())
        if rank == 0:
            print(f"{name}: {right:.3f}, full_tensor {full:.3f}, item() on each process: {own}", flush=True)
        assert abs(full - right) < 1e-4 and float(result) == result.item()
        assert own == [True, True] if "above" in name else own[0] == 0 and own[1] > 0
    dist.destroy_process_group()


if __name__ == "__main__":
    print(f"torch {torch.__version__}, a weight under fully_shard, {PROCESSES} processes", flush=True)
    torch.multiprocessing.spawn(program, nprocs=PROCESSES)
PYTHON_CODE
PORT=$("$PYTHON" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PORT
"$PYTHON" program.py
