#!/usr/bin/env bash
# One would guess: decode_jpeg(device="cuda") of a JPEG that is stored as RGB (its Adobe marker says so) gives the colours of the CPU.
# True:            it takes them for luminance and chroma: other colours altogether.
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
for stored_as_rgb in (False, True):
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=92, subsampling=0, keep_rgb=stored_as_rgb)
    encoded = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    on_cpu = decode_jpeg(encoded, mode=ImageReadMode.RGB).int()
    on_gpu = decode_jpeg([encoded], device="cuda", mode=ImageReadMode.RGB)[0].cpu().int()
    difference = (on_cpu - on_gpu).abs()
    greatest[stored_as_rgb] = difference.max().item()
    print(f"stored as {'RGB' if stored_as_rgb else 'YCbCr'}: greatest difference {difference.max()}, mean {difference.float().mean():.1f} of 255")
assert greatest[False] <= 1 and greatest[True] > 50
PYTHON_CODE
