#!/usr/bin/env bash
# One would guess: augmentations that are modules of the network, as kornia's are meant to be, stop with model.eval(), as Dropout does.
# True:            they go on: kornia and torchvision's v2 transforms look at no training flag, so an evaluation, or an export, sees pictures flipped and erased at random.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet kornia==0.9.0 torch==2.14.1 torchvision==0.29.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import kornia
import torch
import torchvision
from torchvision.transforms import v2

torch.manual_seed(0)
layers = {
    f"kornia {kornia.__version__}": kornia.augmentation.RandomHorizontalFlip(p=0.5),
    f"torchvision {torchvision.__version__}": v2.RandomHorizontalFlip(p=0.5),
    f"torch {torch.__version__}, Dropout": torch.nn.Dropout(0.5),
}
pixels = torch.rand(1, 3, 8, 8)
changed = []
for name, layer in layers.items():
    model = torch.nn.Sequential(layer, torch.nn.Identity()).eval()
    changed.append(sum(not torch.equal(model(pixels), pixels) for _ in range(100)))
    print(f"{name}: training is {layer.training}; of 100 pictures, {changed[-1]} changed")
assert changed[0] > 20 and changed[1] > 20 and changed[2] == 0
PYTHON_CODE
