#!/usr/bin/env bash
# One would guess: a PGM or PPM, which says in its header what white is (1023 for a camera of 10 bits), is read as colours with white as 255, whatever the library.
# True:            OpenCV does not look at it: white is 3 of 255 for 1023, 15 for 4095, 100 for 100, so nearly black; Pillow and imageio scale it, FFmpeg (PyAV) too.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 imageio==2.38.1 av==18.1.0 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
from importlib.metadata import version

import av
import cv2
import imageio.v3 as imageio
import numpy as np
import PIL
from PIL import Image


def by_av(name):
    with av.open(name) as file:
        return next(file.decode(video=0)).to_ndarray(format="rgb24")


READERS = {
    "Pillow": lambda name: np.asarray(Image.open(name)),
    "imageio": imageio.imread,
    "PyAV": by_av,
    "OpenCV": cv2.imread,
    "OpenCV, as it is": lambda name: cv2.imread(name, cv2.IMREAD_UNCHANGED),
}
print(f"Pillow {PIL.__version__}, imageio {version('imageio')}, PyAV {av.__version__}, OpenCV {cv2.__version__}; what white becomes, and in which type:")
ramp = np.tile(np.linspace(0, 1, 256), (64, 1))
white = {}
for maximum in (100, 255, 1023, 4095, 65535):
    levels = np.round(ramp * maximum).astype(np.uint8 if maximum < 256 else ">u2")
    for suffix, kind, pixels in (("pgm", b"P5", levels), ("ppm", b"P6", np.repeat(levels[..., None], 3, axis=2))):
        name = f"{maximum}.{suffix}"
        with open(name, "wb") as file:
            file.write(kind + b" 256 64 %d\n" % maximum + pixels.tobytes())
        read = {reader: pixels_of(name) for reader, pixels_of in READERS.items()}
        white[name] = {reader: pixels.max() / (255 if pixels.dtype == np.uint8 else 65535) for reader, pixels in read.items()}
        print(f"{name}: " + ", ".join(f"{reader} {pixels.max()} ({pixels.dtype})" for reader, pixels in read.items()))
for name, of in white.items():
    assert min(of["Pillow"], of["imageio"], of["PyAV"]) == 1, name
    assert round(255 * of["OpenCV"]) == {"100": 100, "255": 255, "1023": 3, "4095": 15, "65535": 255}[name.split(".")[0]], name
PYTHON_CODE
