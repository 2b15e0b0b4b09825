#!/usr/bin/env bash
# One would guess: what trains one network on several processes leaves each with the same one: after fully_shard (FSDP2) or accelerate's LocalSGD a picture has the same logits everywhere, and what is saved has seen all the data.
# True:            weights are shared, BatchNorm's statistics stay each process's own, from its share of the data alone: a picture's logits depend on who evaluates it, and in the file are those of the first. DistributedDataParallel sends the first one's round before each forward pass.
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
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import accelerate
import torch
import torch.distributed as dist
from accelerate.local_sgd import LocalSGD
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard

PROCESSES, STEPS = 2, 40


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)]
    return nn.Sequential(*layers)


def everyones(tensor):
    return [row.tolist() for row in accelerate.utils.gather(tensor.detach().reshape(1, -1).clone())]


def program():
    accelerator = accelerate.Accelerator(cpu=True)
    warnings.simplefilter("error")
    rank = accelerator.process_index
    shown = torch.ones(1, 3, 16, 16)
    for kind in ("DistributedDataParallel", "fully_shard", "LocalSGD"):
        model = network()
        if kind == "fully_shard":
            fully_shard(model)
        else:
            model = accelerator.prepare_model(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        generator = torch.Generator().manual_seed(rank)
        with LocalSGD(accelerator, model, local_sgd_steps=8, enabled=kind == "LocalSGD") as local:
            for _ in range(STEPS):
                images = torch.randn(8, 3, 16, 16, generator=generator) + rank  # each has its share: dark or bright
                model(images).square().mean().backward()
                optimizer.step()
                optimizer.zero_grad()
                local.step()
        logits = everyones(model.eval()(shown))  # this forward pass too sends DistributedDataParallel's statistics round
        state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
        mean = model.state_dict()[("" if kind == "fully_shard" else "module.") + "1.running_mean"]
        means = everyones(mean)
        if accelerator.is_main_process:
            print(f"{kind}: first logit of one picture on each process: {[round(row[0], 3) for row in logits]}", flush=True)
            same = kind == "DistributedDataParallel"
            assert (means[0] == means[1]) == (logits[0] == logits[1]) == same
            assert state["1.running_mean"].tolist() == means[0]
    dist.barrier()


print(f"torch {torch.__version__}, accelerate {accelerate.__version__}, {PROCESSES} processes", flush=True)
accelerate.debug_launcher(program, num_processes=PROCESSES)
PYTHON_CODE
