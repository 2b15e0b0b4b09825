#!/usr/bin/env bash
# One would guess: gradient checkpointing takes time for memory and changes nothing else.
# True:            BatchNorm counts each batch twice, as its forward pass runs a second time: the running statistics, and what evaluation gives, are others. Nothing is said; gradients are the same.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.15.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import copy

import torch
from torch.utils.checkpoint import checkpoint

torch.manual_seed(0)
block = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
images = torch.randn(4, 3, 16, 16, requires_grad=True)
print(f"torch {torch.__version__}: one training step of a convolution and a BatchNorm")
for use_reentrant in (False, True):
    plain, checkpointed = copy.deepcopy(block), copy.deepcopy(block)
    plain(images).square().sum().backward()
    checkpoint(checkpointed, images, use_reentrant=use_reentrant).square().sum().backward()
    assert torch.equal(plain[0].weight.grad, checkpointed[0].weight.grad)
    variances = plain[1].running_var.mean().item(), checkpointed[1].running_var.mean().item()
    counted = plain[1].num_batches_tracked.item(), checkpointed[1].num_batches_tracked.item()
    print(f"use_reentrant={use_reentrant}: batches counted {counted}, running variance {variances}")
    assert counted == (1, 2)
PYTHON_CODE
