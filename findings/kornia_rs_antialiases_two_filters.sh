#!/usr/bin/env bash
# One would guess: kornia-rs resizes as Pillow does, with antialiasing, whatever the filter, or as OpenCV does, without.
# True:            bicubic and lanczos are Pillow's to three levels, bilinear, the usual one, is OpenCV's without antialiasing: dozens of levels from Pillow where a picture is made smaller.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet kornia-rs==0.2.0 opencv-python-headless==5.0.0.93 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import cv2
import kornia_rs
import numpy as np
from PIL import Image

coarse = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
picture = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BILINEAR)
pixels = np.ascontiguousarray(picture)
filters = {
    "bilinear": (Image.Resampling.BILINEAR, cv2.INTER_LINEAR),
    "bicubic": (Image.Resampling.BICUBIC, cv2.INTER_CUBIC),
    "lanczos": (Image.Resampling.LANCZOS, cv2.INTER_LANCZOS4),
}
print(f"kornia-rs {kornia_rs.__version__}, 320 × 240 to 101 × 77: levels of 255 from Pillow and from OpenCV")
far = {}
for name, (pillow, opencv) in filters.items():
    here = kornia_rs.resize(pixels, (77, 101), name).astype(int)
    there = np.asarray(picture.resize((101, 77), pillow)), cv2.resize(pixels, (101, 77), interpolation=opencv)
    far[name] = [int(np.abs(here - other).max()) for other in there]
    print(f"{name}: {far[name][0]} and {far[name][1]}")
assert far["bilinear"][0] > 20 and far["bilinear"][1] <= 1
assert all(far[name][0] <= 3 and far[name][1] > 20 for name in ("bicubic", "lanczos"))
PYTHON_CODE
