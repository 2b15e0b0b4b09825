#!/usr/bin/env bash
# One would guess: mixup mixes two pictures, also where repeated augmentation is on.
# True:            torchvision's takes the neighbour in the batch, and repeats are neighbours on one process: two of three are mixed with themselves.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet timm==1.0.31 torch==2.14.1 torchvision==0.29.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import timm
import torch
import torchvision
from timm.data.distributed_sampler import RepeatAugSampler
from torchvision.transforms import v2

print(f"timm {timm.__version__}, torchvision {torchvision.__version__}: 3 repeats, batches of 64")
torch.manual_seed(0)
alone = {}
for processes in (1, 2, 4):
    names = torch.tensor(list(RepeatAugSampler(range(6400), num_replicas=processes, rank=0)))
    whole = names[: len(names) // 64 * 64].reshape(-1, 64)
    itself = []
    for batch in whole:
        pictures = batch.float().reshape(-1, 1, 1, 1).expand(-1, 3, 2, 2)
        mixed, _ = v2.MixUp(num_classes=6400)(pictures, batch)
        itself.append((mixed[:, 0, 0, 0] - batch).abs() < 0.01)
    alone[processes] = torch.cat(itself).float().mean().item()
    print(f"{processes} processes: {alone[processes]:.0%} of the pictures are unmixed")
assert alone[1] > 0.6 and alone[2] > 0.25 and alone[4] < 0.1
PYTHON_CODE
