#!/usr/bin/env bash
# One would guess: torchvision's antialiased resize of uint8 gives on the GPU what it gives on the CPU, to a level.
# True:            bilinear does; bicubic is up to 12 levels away.
# Needs an NVIDIA GPU. PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.11.0 torchvision==0.26.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import torch
import torchvision
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

torch.manual_seed(0)
# Edges between black and white, of which any photograph with text or a skyline has some.
picture = (torch.rand(3, 50, 60) > 0.5).repeat_interleave(8, 1).repeat_interleave(8, 2).to(torch.uint8) * 255
print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, {torch.cuda.get_device_name()}")
greatest = {}
for mode in (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC):
    on_cpu = resize(picture, [224, 224], interpolation=mode, antialias=True)
    on_gpu = resize(picture.cuda(), [224, 224], interpolation=mode, antialias=True).cpu()
    difference = (on_cpu.int() - on_gpu.int()).abs()
    greatest[mode] = difference.max().item()
    print(f"{mode.value}: greatest difference {difference.max()} of 255, {(difference > 0).float().mean():.1%} of the values differ")
assert greatest[InterpolationMode.BILINEAR] <= 1 and greatest[InterpolationMode.BICUBIC] > 2
PYTHON_CODE
