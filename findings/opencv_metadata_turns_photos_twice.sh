#!/usr/bin/env bash
# One would guess: a photo that OpenCV reads with its metadata and writes with them (imreadWithMetadata, imwriteWithMetadata) shows in a viewer what it showed.
# True:            with IMREAD_COLOR the pixels are turned as the EXIF orientation says, and the tag is handed on as it was: a phone's upright photo lies on its side for all who read the new file, OpenCV's own imread too; with IMREAD_UNCHANGED or IMREAD_IGNORE_ORIENTATION it stays.
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
from PIL import Image, ImageOps

ORIENTATION = 274
shown = np.zeros((96, 64, 3), np.uint8)  # as a viewer shows it: red above, green below left, blue below right
shown[:48], shown[48:, :32], shown[48:, 32:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
readers = {
    "Pillow": lambda name: np.asarray(ImageOps.exif_transpose(Image.open(name)).convert("RGB")),
    "OpenCV": lambda name: cv2.imread(name, cv2.IMREAD_COLOR_RGB),
}


def turned(name, read):
    """By how many quarters, against the clock, what a reader shows is turned."""
    pixels = readers[read](name).astype(int)
    found = [k for k in range(4) if np.rot90(shown, k).shape == pixels.shape and np.abs(np.rot90(shown, k) - pixels).mean() < 20]
    assert len(found) == 1
    return found[0]


print(f"OpenCV {cv2.__version__}, Pillow {PIL.__version__}: a photo is read and written with its metadata")
turns = {6: 1, 8: 3, 3: 2}  # how the camera has laid it down, in quarters
flags = ("IMREAD_COLOR", "IMREAD_UNCHANGED", "IMREAD_IGNORE_ORIENTATION")
for orientation, quarters in turns.items():
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.rot90(shown, quarters).copy()).save("photo.jpg", quality=95, subsampling=0, exif=exif)
    assert [turned("photo.jpg", read) for read in readers] == [0, 0]
    for flag in flags:
        asked = getattr(cv2, flag) | (cv2.IMREAD_COLOR if flag == "IMREAD_IGNORE_ORIENTATION" else 0)
        pixels, types, metadata = cv2.imreadWithMetadata("photo.jpg", asked)
        seen = set()
        for suffix in ("jpg", "png", "webp"):
            cv2.imwriteWithMetadata(f"copy.{suffix}", pixels, types, metadata)
            assert Image.open(f"copy.{suffix}").getexif()[ORIENTATION] == orientation
            seen |= {turned(f"copy.{suffix}", read) for read in readers}
        print(f"orientation {orientation}, {flag}: in JPEG, PNG and WebP, for Pillow and for OpenCV, turned by quarters: {seen}")
        assert seen == {(4 - quarters) % 4 if flag == "IMREAD_COLOR" else 0}
PYTHON_CODE
