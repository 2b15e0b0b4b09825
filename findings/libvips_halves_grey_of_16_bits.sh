#!/usr/bin/env bash
# One would guess: an array of 16 bits that pyvips writes as PNG is a PNG of 16 bits, as OpenCV, imageio and Pillow write it.
# True:            in colours, and as TIFF; of grey ones, radiographs say, the lower byte is dropped: 65,536 levels become 256, unless copy(interpretation="grey16") says what they are.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pyvips==3.2.0 pyvips-binary==8.18.7 opencv-python-headless==5.0.0.93 imageio==2.38.1 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import cv2
import imageio.v3 as imageio
import numpy as np
import PIL
import pyvips
from PIL import Image

version = ".".join(str(pyvips.version(place)) for place in range(3))
print(f"libvips {version}, OpenCV {cv2.__version__}, Pillow {PIL.__version__}")
grey = np.arange(65536, dtype=np.uint16).reshape(256, 256)
colours = np.dstack([grey, grey.T, grey[::-1]])
WRITERS = {
    "OpenCV": cv2.imwrite,
    "imageio": imageio.imwrite,
    "Pillow": lambda name, pixels: Image.fromarray(pixels).save(name),
    "libvips": lambda name, pixels: pyvips.Image.new_from_array(pixels).write_to_file(name),
    "libvips, told": lambda name, pixels: pyvips.Image.new_from_array(pixels).copy(interpretation="grey16").write_to_file(name),
}
kept = {}
for writer, write in WRITERS.items():
    for suffix in ("png", "tif"):
        write(f"{writer}.{suffix}", grey)
        read = cv2.imread(f"{writer}.{suffix}", cv2.IMREAD_UNCHANGED)
        kept[writer, suffix] = len(np.unique(read))
        print(f"{writer}, {suffix}: {read.dtype}, {kept[writer, suffix]} different levels of 65536")
pyvips.Image.new_from_array(colours).write_to_file("colours.png")
read = cv2.imread("colours.png", cv2.IMREAD_UNCHANGED)
print(f"libvips, png of colours: {read.dtype}")
assert np.array_equal(read[..., ::-1], colours)
assert all(levels == (256 if key == ("libvips", "png") else 65536) for key, levels in kept.items())
PYTHON_CODE
