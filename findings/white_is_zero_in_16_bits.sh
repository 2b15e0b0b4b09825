#!/usr/bin/env bash
# One would guess: of a TIFF whose photometric interpretation says that white is zero, a library gives white as the highest level in 16 bits if it does so in 8, or in neither.
# True:            Pillow turns 8 bits round and leaves 16 as they are: the negative. libvips turns both, tifffile none, OpenCV's imread both as colour, only 8 as it is.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet tifffile==2026.3.3 pillow==12.3.0 opencv-python-headless==5.0.0.93 pyvips[binary]==3.2.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import cv2
import numpy as np
import PIL
import pyvips
import tifffile
from PIL import Image

print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}, libvips {pyvips.version(0)}.{pyvips.version(1)}, tifffile {tifffile.__version__}")
print("what each gives for white, which is stored as 0")
seen = {}
for dtype in (np.uint8, np.uint16):
    most = int(np.iinfo(dtype).max)
    tifffile.imwrite("scan.tif", np.linspace(0, most, 64).astype(dtype).reshape(8, 8), photometric="miniswhite")
    white = {
        "Pillow": np.asarray(Image.open("scan.tif"))[0, 0],
        "OpenCV as it is": cv2.imread("scan.tif", cv2.IMREAD_UNCHANGED)[0, 0],
        "OpenCV as colour": cv2.imread("scan.tif")[0, 0, 0],
        "libvips": pyvips.Image.new_from_file("scan.tif").numpy()[0, 0],
        "tifffile": tifffile.imread("scan.tif")[0, 0],
    }
    seen[dtype] = {name: int(value) for name, value in white.items()}
    print(f"{np.iinfo(dtype).bits} bits: {seen[dtype]}")
assert list(seen[np.uint8].values()) == [255, 255, 255, 255, 0]
assert list(seen[np.uint16].values())[:3] == [0, 0, 255] and seen[np.uint16]["tifffile"] == 0
PYTHON_CODE
