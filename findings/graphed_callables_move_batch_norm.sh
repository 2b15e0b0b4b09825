#!/usr/bin/env bash
# One would guess: torch.cuda.make_graphed_callables warms up and records; the network is as before.
# True:            each warm-up pass in training mode moves BatchNorm's running statistics towards those of the sample: after three passes a quarter of a pretrained network's is gone before the first step.
# Needs an NVIDIA GPU. PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.11.0
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import torch
from torch import nn

net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).cuda()
norm = net[1]
with torch.no_grad():
    norm.running_mean.fill_(100.0)
sample = torch.zeros(16, 3, 32, 32, device="cuda")
torch.cuda.make_graphed_callables(net, (sample,))
torch.cuda.synchronize()
print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}: no step was made; batches counted {norm.num_batches_tracked.item()}, running mean {norm.running_mean[0].item():.1f}, which was 100")
assert norm.num_batches_tracked.item() > 0 and norm.running_mean[0].item() < 95
PYTHON_CODE
