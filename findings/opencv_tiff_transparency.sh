#!/usr/bin/env bash
# One would guess: OpenCV's imread as colour drops the alpha channel, whatever the file's format.
# True:            of PNG, WebP and AVIF it does; of TIFF it multiplies by it: half-transparent pixels are half as bright.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import cv2
import numpy as np
import PIL
from PIL import Image

print(f"OpenCV {cv2.__version__}, Pillow {PIL.__version__}: colour (200, 100, 50) with alpha 128")
picture = Image.new("RGBA", (32, 32), (200, 100, 50, 128))
means = {}
for name, options in {"png": {}, "webp": {"lossless": True, "exact": True}, "tiff": {}}.items():
    picture.save(f"picture.{name}", **options)
    by_opencv = cv2.imread(f"picture.{name}", cv2.IMREAD_COLOR)[0, 0, ::-1]
    by_pillow = np.asarray(Image.open(f"picture.{name}").convert("RGB"))[0, 0]
    print(f"{name}: OpenCV {by_opencv.tolist()}, Pillow {by_pillow.tolist()}")
    means[name] = by_opencv.mean()
    assert by_pillow.tolist() == [200, 100, 50]
assert means["png"] == means["webp"] and means["tiff"] < 0.6 * means["png"]
PYTHON_CODE
