#!/usr/bin/env bash
# One would guess: torchvision's ToTensor scales a picture of 16 bits to 0…1, as it does with 8 bits.
# True:            it gives int16 as it is: nothing is scaled, and what is brighter than half becomes negative. v2's ToImage and ToDtype are right.
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
import torch
import torchvision
from PIL import Image
from torchvision.transforms import ToTensor, v2

levels = [0, 1000, 32767, 32768, 65535]
Image.fromarray(np.array([levels], dtype=np.uint16)).save("grey.png")
picture = Image.open("grey.png")
old = ToTensor()(picture).flatten()
new = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])(picture).flatten()
print(f"torchvision {torchvision.__version__}, a PNG of 16 bits (Pillow's {picture.mode}): {levels}")
print(f"ToTensor: {old.dtype} {old.tolist()}")
print(f"v2.ToImage, v2.ToDtype: {new.dtype} {[round(value, 3) for value in new.tolist()]}")
assert old.dtype == torch.int16 and old.tolist() == [0, 1000, 32767, -32768, -1]
assert torch.allclose(new, torch.tensor(levels) / 65535)
PYTHON_CODE
