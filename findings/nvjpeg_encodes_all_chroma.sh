#!/usr/bin/env bash
# One would guess: encode_jpeg(quality=75) writes on the GPU what it writes on the CPU: 4:2:0.
# True:            on the GPU all chroma is kept (4:4:4): the file is larger, and its pixels are others.
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
from torchvision.io import encode_jpeg

coarse = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
picture = np.asarray(Image.fromarray(coarse).resize((480, 400), Image.Resampling.BICUBIC)).copy()
pixels = torch.from_numpy(picture).permute(2, 0, 1).contiguous()
print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, {torch.cuda.get_device_name()}: quality 75")
factors, sizes = {}, {}
for device in ("cpu", "cuda"):
    file = encode_jpeg(pixels.to(device), quality=75).cpu().numpy().tobytes()
    image = Image.open(io.BytesIO(file))
    factors[device], sizes[device] = [layer[1:3] for layer in image.layer], len(file)
    difference = np.abs(np.asarray(image).astype(int) - picture)
    print(f"{device}: {len(file)} bytes, sampling factors {factors[device]}, {difference.max()} levels from the picture at most, {difference.mean():.2f} on average")
assert factors["cpu"][0] == (2, 2) and factors["cuda"][0] == (1, 1) and sizes["cuda"] > sizes["cpu"]
PYTHON_CODE
