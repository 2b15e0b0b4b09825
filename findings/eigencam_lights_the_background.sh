#!/usr/bin/env bash
# One would guess: EigenCAM is bright where the object is, and moves with it.
# True:            the sign of a principal component is left to chance: for some places of the same object, it is dark and all around it is bright.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet grad-cam==1.5.7 torch==2.14.1 torchvision==0.29.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
from importlib.metadata import version

import numpy as np
import torch
from pytorch_grad_cam import EigenCAM
from torchvision.models import resnet18

torch.manual_seed(0)
model = resnet18(num_classes=10).eval()
object_ = torch.rand(3, 96, 96) * 2
right = {}
print(f"grad-cam {version('grad-cam')}: one object of 96 × 96 on an empty ground of 224 × 224, at 25 places, brightness of the map inside − outside")
for name, layer in (("layer3", model.layer3), ("layer4", model.layer4)):
    cam, right[name] = EigenCAM(model, [layer]), 0
    for top in range(0, 160, 32):
        row = []
        for left in range(0, 160, 32):
            pixels = torch.zeros(1, 3, 224, 224)
            pixels[0, :, top : top + 96, left : left + 96] = object_
            inside = np.zeros((224, 224), bool)
            inside[top : top + 96, left : left + 96] = True
            heat = cam(pixels, targets=None)[0]
            row.append(heat[inside].mean() - heat[~inside].mean())
        right[name] += sum(value > 0 for value in row)
        print(name, " ".join(f"{value:+.2f}" for value in row))
assert any(0 < count < 25 for count in right.values()), right
PYTHON_CODE
