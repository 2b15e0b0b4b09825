#!/usr/bin/env bash
# One would guess: adjust_hue gives for a Pillow picture and for its uint8 tensor the same, but for a level, as brightness and contrast do.
# True:            up to 14 of 255 levels apart: Pillow turns the hue in 8 bits, tensors in float32.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import PIL
import torchvision
from PIL import Image
from torchvision.transforms.v2 import functional

print(f"torchvision {torchvision.__version__}, Pillow {PIL.__version__}")
coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
picture = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)
tensor = functional.pil_to_tensor(picture)
greatest = {}
for name, value in (("brightness", 1.4), ("contrast", 1.4), ("saturation", 1.4), ("hue", 0.02), ("hue", 0.1), ("hue", 0.3)):
    adjust = getattr(functional, f"adjust_{name}")
    difference = (functional.pil_to_tensor(adjust(picture, value)).int() - adjust(tensor, value).int()).abs()
    greatest[name] = max(difference.max().item(), greatest.get(name, 0))
    print(f"{name} {value}: greatest difference {difference.max()}, mean {difference.float().mean():.2f} of 255")
assert greatest["hue"] > 8 and max(greatest[name] for name in ("brightness", "contrast", "saturation")) <= 1
PYTHON_CODE
