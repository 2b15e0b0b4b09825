#!/usr/bin/env bash
# One would guess: a JPEG packed into JPEG XL without loss decodes to the JPEG's pixels, whichever library reads it.
# True:            the file can be had back to the bit, its pixels not: libjxl (imagecodecs) is up to a dozen levels from libjpeg on most values; Pillow's plugin unpacks the JPEG first.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pillow-jxl-plugin==1.3.8 imagecodecs==2026.3.6 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import pathlib
import warnings
from importlib.metadata import version

import imagecodecs
import numpy as np
import pillow_jxl  # noqa: F401 - registers the format
from PIL import Image

warnings.simplefilter("ignore")
noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
picture = Image.fromarray(noise).resize((480, 320), Image.Resampling.BILINEAR)
print(f"pillow-jxl-plugin {version('pillow-jxl-plugin')}, imagecodecs {imagecodecs.__version__}: levels of 255 from the JPEG's own pixels")
for subsampling in ("4:4:4", "4:2:0"):
    picture.save("photo.jpg", quality=95, subsampling=subsampling)
    jpeg = Image.open("photo.jpg")
    jpeg.save("packed.jxl", lossless_jpeg=True)
    pixels = np.asarray(jpeg).astype(int)
    again = np.asarray(Image.open("packed.jxl").convert("RGB")).astype(int)
    packed = pathlib.Path("packed.jxl").read_bytes()
    far = np.abs(imagecodecs.jpegxl_decode(packed).astype(int) - pixels)
    share = len(packed) / pathlib.Path("photo.jpg").stat().st_size
    print(f"{subsampling}: {share:.0%} of its bytes; Pillow's plugin {np.abs(again - pixels).max()}, libjxl {far.max()}, {(far > 0).mean():.0%} of the values")
    assert (again == pixels).all() and far.max() > 2 and (far > 0).mean() > 0.3
PYTHON_CODE
