#!/usr/bin/env bash
# One would guess: MNN.cv, made to have OpenCV's functions, resizes as OpenCV does, but for a level.
# True:            bilinear only: bicubic is dozens of levels away, INTER_AREA, when it makes a picture smaller, and INTER_NEAREST take other pixels; a JPEG is read up to 3 levels away.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet MNN==3.6.1 opencv-python-headless==5.0.0.93 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
from importlib.metadata import version

import cv2
import MNN.cv
import numpy as np

pixels = cv2.blur(np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8), (3, 3))
cv2.imwrite("photo.jpg", pixels)
cv2.imwrite("photo.png", pixels)
photo = MNN.cv.imread("photo.png")
assert (np.array(photo.read()) == pixels).all()
print(f"MNN {version('MNN')}, OpenCV {cv2.__version__}: levels of 255 between the two")
far = {}
for name in ("INTER_LINEAR", "INTER_CUBIC", "INTER_NEAREST", "INTER_AREA"):
    here = MNN.cv.resize(photo, (64, 48), interpolation=getattr(MNN.cv, name)).read()
    there = cv2.resize(pixels, (64, 48), interpolation=getattr(cv2, name))
    far[name] = np.abs(np.array(here).astype(int) - there)
    print(f"160 × 120 to 64 × 48, {name}: up to {far[name].max()}, mean {far[name].mean():.1f}")
jpeg = np.abs(np.array(MNN.cv.imread("photo.jpg").read()).astype(int) - cv2.imread("photo.jpg"))
print(f"a JPEG: up to {jpeg.max()}")
assert far["INTER_LINEAR"].max() <= 1 and all(far[name].max() > 20 for name in list(far)[1:]) and 1 <= jpeg.max() <= 8
PYTHON_CODE
