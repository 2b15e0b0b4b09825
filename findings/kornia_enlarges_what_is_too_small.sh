#!/usr/bin/env bash
# One would guess: a random crop of 8 × 8 from a picture of 6 × 6 is an error, as in torchvision, or has a margin.
# True:            kornia's RandomCrop stretches the picture to 8 × 8; its CenterCrop refuses the same picture.
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
from torchvision.transforms import v2

pixels = torch.arange(36.0).reshape(1, 1, 6, 6)
print(f"kornia {kornia.__version__}: a crop of 8 × 8 from 6 × 6")
crop = kornia.augmentation.RandomCrop((8, 8))(pixels)
stretched = torch.nn.functional.interpolate(pixels, (8, 8), mode="bilinear", align_corners=True)
print(f"kornia's RandomCrop: its first row {[round(value, 2) for value in crop[0, 0, 0].tolist()]}; of the picture, {pixels[0, 0, 0].tolist()}")
refusals = {}
for name, transform in {"kornia's CenterCrop": kornia.augmentation.CenterCrop(8), "torchvision's RandomCrop": v2.RandomCrop(8)}.items():
    try:
        transform(pixels)
    except (AssertionError, ValueError) as error:
        refusals[name] = type(error).__name__
        print(f"{name}: {refusals[name]}, {str(error)[:70]}")
assert crop.shape == (1, 1, 8, 8) and (crop - stretched).abs().max() < 1 and len(refusals) == 2
PYTHON_CODE
