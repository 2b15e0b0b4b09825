#!/usr/bin/env bash
# One would guess: update_bn gives BatchNorm the mean and variance of all the pictures it is shown.
# True:            each batch counts alike, so a last batch of 2 weighs as much as 64, and what differs between batches is missing in the variance.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

torch.manual_seed(0)
batches = [torch.randn(64, 1), torch.randn(2, 1) + 10]
norm = nn.BatchNorm1d(1)
update_bn(batches, norm)
everything = torch.cat(batches)
mean, variance = norm.running_mean.item(), norm.running_var.item()
print(f"torch {torch.__version__}: batches of 64 around 0 and of 2 around 10")
print(f"update_bn: mean {mean:.2f}, variance {variance:.2f}; of all 66: {everything.mean():.2f}, {everything.var():.2f}")
assert abs(mean - sum(batch.mean().item() for batch in batches) / 2) < 1e-4
assert mean > 10 * everything.mean().item() and variance < everything.var().item()
PYTHON_CODE
