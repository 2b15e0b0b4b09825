#!/usr/bin/env bash
# One would guess: RandomErasing(value="random") fills uint8 pictures with noise of all levels, or refuses them.
# True:            it draws from a normal distribution and cuts it off: nothing but levels within 6 of 0 and 255, black and wrapped around.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import torch
import torchvision
from torchvision.transforms import v2

torch.manual_seed(0)
grey = torch.full((3, 256, 256), 100, dtype=torch.uint8)
erased = v2.RandomErasing(p=1, scale=(0.5, 0.5), value="random")(grey)
noise = erased[erased != 100]
near_black, near_white = noise <= 6, noise >= 250
print(f"torchvision {torchvision.__version__}: {len(noise)} values drawn; levels {noise.unique().tolist()}")
print(f"within 6 of black {near_black.float().mean():.0%}, within 6 of white {near_white.float().mean():.0%}")
assert erased.dtype == torch.uint8 and len(noise) > 90_000
assert (near_black | near_white).all() and near_white.float().mean() > 0.1
PYTHON_CODE
