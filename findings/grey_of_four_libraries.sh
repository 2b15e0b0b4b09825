#!/usr/bin/env bash
# One would guess: a colour picture made grey is the same in Pillow, OpenCV, scikit-image and libvips, but for a level.
# True:            only the first two: scikit-image weighs as television does (BT.709), libvips adds light, not levels. Up to 32 and 60 of 255 away.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pyvips==3.2.0 pyvips-binary==8.18.7 opencv-python-headless==5.0.0.93 scikit-image==0.26.0 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import cv2
import numpy as np
import PIL
import pyvips
import skimage
from PIL import Image
from skimage.color import rgb2gray

version = ".".join(str(pyvips.version(place)) for place in range(3))
print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}, scikit-image {skimage.__version__}, libvips {version}")
colours = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
reference = np.asarray(Image.fromarray(colours).convert("L")).astype(int)
grey = {
    "OpenCV": cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY),
    "scikit-image": np.round(255 * rgb2gray(colours)),
    "libvips": pyvips.Image.new_from_array(colours).colourspace("b-w").numpy().reshape(reference.shape),
}
greatest = {name: np.abs(pixels - reference).max() for name, pixels in grey.items()}
for name, difference in greatest.items():
    print(f"{name} beside Pillow: up to {difference:.0f} of 255, mean {np.abs(grey[name] - reference).mean():.1f}")
assert greatest["OpenCV"] <= 1 and greatest["scikit-image"] > 20 and greatest["libvips"] > 40
PYTHON_CODE
