#!/usr/bin/env bash
# One would guess: Pillow rotates a grey picture of 16 bits (mode I;16, what it opens of a PNG) as it rotates one of 8 bits, or refuses, as its filters do.
# True:            with bilinear or bicubic, rotate and transform (affine, perspective, extent, quad: so torchvision's RandomRotation, RandomAffine and RandomPerspective, the last by default) interpolate single bytes: an even grey of 30000 of 65535 becomes noise between 0 and 127, a photo is all but black. nearest and resize are right, and so are the modes I and F.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W error - <<'PYTHON_CODE'
import numpy as np
import PIL
from PIL import Image
from PIL.Image import Resampling, Transform

rows, columns = np.mgrid[:64, :96]
pictures = {"even": np.full((64, 96), 30000, np.uint16), "ramp": ((rows + columns) * 400).astype(np.uint16)}
steps = {
    "rotate": lambda image, filter: image.rotate(10, filter),
    "affine": lambda image, filter: image.transform(image.size, Transform.AFFINE, (1, 0.1, 0, 0, 1, 0), filter),
    "perspective": lambda image, filter: image.transform(image.size, Transform.PERSPECTIVE, (1, 0.1, 0, 0, 1, 0, 1e-4, 0), filter),
    "extent": lambda image, filter: image.transform((40, 30), Transform.EXTENT, (3, 4, 60, 50), filter),
    "resize": lambda image, filter: image.resize((40, 30), filter),
}
print(f"Pillow {PIL.__version__}; the brightest pixel, and that of the same values as mode F:")
for name, pixels in pictures.items():
    Image.fromarray(pixels).save("photo.png")
    image = Image.open("photo.png")
    assert image.mode == "I;16" and np.array_equal(image, pixels)
    floats, integers = Image.fromarray(pixels.astype(np.float32)), Image.fromarray(pixels.astype(np.int32))
    for step, apply in steps.items():
        for filter in (Resampling.NEAREST, Resampling.BILINEAR, Resampling.BICUBIC):
            there = np.asarray(apply(floats, filter))
            here, other = (np.asarray(apply(picture, filter)).astype(float) for picture in (image, integers))
            print(f"{name}, {step}, {filter.name.lower()}: {here.max():.0f}, {there.max():.0f}")
            assert np.abs(other - there).max() <= 800  # a pixel beside it, by nearest
            if step == "resize" or filter == Resampling.NEAREST:
                assert np.abs(here - there).max() <= 800
            else:
                assert here.max() < 256 and there.max() >= 30000
even = Image.fromarray(pictures["even"]).rotate(10, Resampling.BILINEAR)
print("four pixels of an even 30000, rotated:", *np.asarray(even)[30, 40:44])
PYTHON_CODE
