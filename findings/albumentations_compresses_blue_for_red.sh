#!/usr/bin/env bash
# One would guess: albumentations' ImageCompression at quality 50 gives a photo in RGB, which it asks for, the artefacts that a JPEG of quality 50 has, as torchvision's v2.JPEG does.
# True:            it hands RGB to OpenCV as BGR: red is compressed as the blue of a JPEG, 2 dB worse, and blue as its red, 2 dB better; pixels are up to 74 levels from the JPEG's, and robustness is measured against photos that no camera makes. WebP likewise.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet albumentations==2.0.8 opencv-python-headless==4.14.0.94 scikit-image==0.26.0 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W ignore - <<'PYTHON_CODE'
import io

import albumentations
import numpy as np
import PIL
import skimage.data
from PIL import Image


def by_pillow(pixels, suffix):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, suffix, quality=50)
    return np.asarray(Image.open(file).convert("RGB"))


def noise(pixels, photo):
    return [round(float(10 * np.log10(255**2 / np.square(pixels[..., channel].astype(float) - photo[..., channel]).mean())), 1) for channel in range(3)]


print(f"albumentations {albumentations.__version__}, Pillow {PIL.__version__}, quality 50; dB of red, green and blue beside the photo")
for name in ("rocket", "astronaut"):
    photo = getattr(skimage.data, name)()
    for suffix in ("jpeg", "webp"):
        compressed = albumentations.ImageCompression(compression_type=suffix, quality_range=(50, 50), p=1)(image=photo)["image"]
        right = by_pillow(photo, suffix)
        swapped = by_pillow(np.ascontiguousarray(photo[..., ::-1]), suffix)[..., ::-1]
        away = np.abs(compressed.astype(int) - right)
        print(f"{name}, {suffix}: {away.max()} levels at most from Pillow's, {np.abs(compressed.astype(int) - swapped).max()} from Pillow's of red and blue exchanged; {noise(right, photo)} by Pillow, {noise(compressed, photo)} here")
        assert away.max() > 20 and np.abs(compressed.astype(int) - swapped).max() <= 2
PYTHON_CODE
