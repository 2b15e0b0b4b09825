#!/usr/bin/env bash
# One would guess: a checkpoint of torch.distributed.checkpoint (DCP), whose state_dict is the same on all processes but for BatchNorm's statistics, holds one process's network: the first one's, as torch.save on rank 0 does.
# True:            of what each process has as a whole, it lets one of them write each entry, so that all write alike much: some layers' statistics are those of process 0 and some those of process 3. Under DistributedDataParallel no process has such a network; get_model_state_dict does not help.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat >program.py <<'PYTHON_CODE'
import os
import warnings

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torchvision.models import resnet50

PROCESSES = 4
KINDS = "running_mean", "running_var"


def program(rank):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": os.environ["PORT"]}
    dist.init_process_group("gloo", rank=rank, world_size=PROCESSES)
    warnings.filterwarnings("error", module="torch.distributed.checkpoint")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(resnet50(num_classes=10)).train()
    torch.manual_seed(rank)
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    state = get_model_state_dict(model)
    norms = [name.removesuffix(".running_mean") for name in state if name.endswith(".running_mean")]
    for lowest in (False, True):
        folder = f"checkpoint-{lowest}"
        dcp.save(state, checkpoint_id=folder, planner=DefaultSavePlanner(dedup_save_to_lowest_rank=lowest))
        stored = {name: torch.zeros_like(value) for name, value in state.items() if ".running_" in name}
        dcp.load(stored, checkpoint_id=folder)
        mine = [[torch.equal(stored[f"{norm}.{kind}"], state[f"{norm}.{kind}"]) for kind in KINDS] for norm in norms]
        everyones = [None] * PROCESSES
        dist.all_gather_object(everyones, mine)
        counts = [sum(mean for mean, _ in one) for one in everyones]
        pairs = sum(all(pair) for one in everyones for pair in one)
        if rank == 0:
            print(f"dedup_save_to_lowest_rank={lowest}: means of process 0, 1, 2, 3: {counts} of {len(norms)};", end=" ")
            print(f"mean and variance of one process: {pairs}", flush=True)
        assert sum(counts) == len(norms) == 53
        assert (counts[0], pairs) == (53, 53) if lowest else counts[0] < 27 and pairs < 53
    dist.destroy_process_group()


if __name__ == "__main__":
    print(f"torch {torch.__version__}, ResNet-50 under DistributedDataParallel, {PROCESSES} processes", flush=True)
    torch.multiprocessing.spawn(program, nprocs=PROCESSES)
PYTHON_CODE
PORT=$("$PYTHON" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PORT
"$PYTHON" program.py
