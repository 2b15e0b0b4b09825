#!/usr/bin/env bash
# One would guess: two readers of one AVIF file, both on libaom or dav1d, give the same pixels, but for a level.
# True:            with 4:2:0 chroma libvips (libheif) is dozens of levels from Pillow, OpenCV and imagecodecs (libavif), who agree; not with 4:4:4.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pyvips==3.2.0 pyvips-binary==8.18.7 opencv-python-headless==5.0.0.93 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import cv2
import numpy as np
import PIL
import pyvips
from PIL import Image

version = ".".join(str(pyvips.version(place)) for place in range(3))
print(f"libvips {version}, Pillow {PIL.__version__}, OpenCV {cv2.__version__}")
coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
picture = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)
greatest = {}
for subsampling in ("4:4:4", "4:2:0"):
    picture.save("picture.avif", quality=95, subsampling=subsampling)
    reference = np.asarray(Image.open("picture.avif")).astype(int)
    read = {"libvips": pyvips.Image.new_from_file("picture.avif").numpy(), "OpenCV": cv2.imread("picture.avif")[..., ::-1]}
    for name, pixels in read.items():
        difference = np.abs(pixels - reference)
        greatest[name, subsampling] = difference.max()
        print(f"{subsampling}, {name} beside Pillow: greatest difference {difference.max()}, mean {difference.mean():.2f} of 255")
assert greatest["OpenCV", "4:2:0"] <= 1 and greatest["libvips", "4:4:4"] <= 2 and greatest["libvips", "4:2:0"] > 15
PYTHON_CODE
