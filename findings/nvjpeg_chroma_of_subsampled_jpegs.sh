#!/usr/bin/env bash
# One would guess: decode_jpeg(device="cuda") gives the CPU's pixels, but for a level or two.
# True:            the very same on 4:4:4; with subsampled chroma (4:2:0) up to dozens of levels away: it is not interpolated.
# Needs an NVIDIA GPU. PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.11.0 torchvision==0.26.0 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import io

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

coarse = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
picture = Image.fromarray(coarse).resize((480, 400), Image.Resampling.BICUBIC)
print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, {torch.cuda.get_device_name()}")
greatest = {}
for subsampling in ("4:4:4", "4:2:0"):
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=92, subsampling=subsampling)
    encoded = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    on_cpu = decode_jpeg(encoded, mode=ImageReadMode.RGB).int()
    on_gpu = decode_jpeg([encoded], device="cuda", mode=ImageReadMode.RGB)[0].cpu().int()
    difference = (on_cpu - on_gpu).abs()
    greatest[subsampling] = difference.max().item()
    print(f"{subsampling}: greatest difference {difference.max()}, mean {difference.float().mean():.3f} of 255")
assert greatest["4:4:4"] <= 1 and greatest["4:2:0"] > 4
PYTHON_CODE
