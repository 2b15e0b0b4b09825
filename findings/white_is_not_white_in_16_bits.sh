#!/usr/bin/env bash
# One would guess: to_dtype(scale=True) from uint8 to uint16 makes white white: 255 becomes 65535.
# True:            it multiplies by 256: 65280, so 0.996 as a float. Back to uint8 it is 255 again, which hides it.
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
from torchvision.transforms.v2.functional import to_dtype

levels = torch.tensor([[[0, 128, 255]]], dtype=torch.uint8)
print(f"torchvision {torchvision.__version__}: {levels.flatten().tolist()}")
for dtype in (torch.uint16, torch.int16, torch.int32):
    wide = to_dtype(levels, dtype, scale=True)
    as_float = to_dtype(wide, torch.float32, scale=True).flatten()
    back = to_dtype(wide, torch.uint8, scale=True)
    print(f"{dtype}: {wide.flatten().tolist()}, as float {[round(value, 4) for value in as_float.tolist()]}")
    assert as_float[-1] < 0.9965 and back.tolist() == levels.tolist()
PYTHON_CODE
