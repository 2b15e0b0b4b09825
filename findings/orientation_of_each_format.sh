#!/usr/bin/env bash
# One would guess: a library that turns a photo as its orientation says turns it in every format, and one that leaves it leaves it in every format.
# True:            OpenCV turns JPEG, PNG and WebP, but not AVIF; Pillow's open turns TIFF alone, libvips AVIF alone. A set of photos stored again as AVIF lies on its side for OpenCV.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pillow==12.3.0 opencv-python-headless==5.0.0.93 pyvips==3.2.0 pyvips-binary==8.18.7 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import cv2
import numpy as np
import PIL
import pyvips
from PIL import Image, ImageOps

lying = np.zeros((64, 96, 3), np.uint8)
exif = Image.Exif()
exif[0x0112] = 6
readers = {
    "Pillow": lambda path: Image.open(path).convert("RGB"),
    "Pillow, exif_transpose": lambda path: ImageOps.exif_transpose(Image.open(path)),
    "OpenCV": cv2.imread,
    "libvips": lambda path: pyvips.Image.new_from_file(path).numpy(),
    "libvips, autorot": lambda path: pyvips.Image.new_from_file(path).autorot().numpy(),
}
turned = {name: [] for name in readers}
for suffix in ("jpg", "png", "webp", "avif", "tiff"):
    Image.fromarray(lying).save(f"photo.{suffix}", exif=exif.tobytes())
    for name, read in readers.items():
        if (name, suffix) != ("OpenCV", "tiff"):  # an error
            height, width = np.asarray(read(f"photo.{suffix}")).shape[:2]
            turned[name] += [suffix] * (height > width)
print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}, libvips {'.'.join(str(pyvips.version(n)) for n in range(3))}: a photo of orientation 6 is turned in")
for name, formats in turned.items():
    print(f"{name}: {', '.join(formats)}")
everywhere = ["jpg", "png", "webp", "avif", "tiff"]
assert turned["Pillow"] == ["tiff"] and turned["libvips"] == ["avif"] and turned["OpenCV"] == everywhere[:3]
assert turned["Pillow, exif_transpose"] == turned["libvips, autorot"] == everywhere
PYTHON_CODE
