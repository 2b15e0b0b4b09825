#!/usr/bin/env bash
# One would guess: Pillow resizes a grey picture of 16 bits alike, whether its TIFF is little-endian or big-endian, as Macs, scanners and ImageJ write it: its values are the same.
# True:            the big-endian one (mode I;16B) is resized and made a thumbnail with the bytes of each pixel exchanged: a smooth ramp comes out as noise, levels up to nine tenths of the whole range away, without a word. nearest, crop, transpose and np.asarray are right: make it little-endian by Image.fromarray(np.asarray(image).astype("<u2")) first.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pillow==12.3.0 tifffile==2026.3.3 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W error - <<'PYTHON_CODE'
import numpy as np
import PIL
import tifffile
from PIL import Image
from PIL.Image import Resampling, Transpose


def thumbnail(image):
    image.thumbnail((48, 32))
    return image


rows, columns = np.mgrid[:64, :96]
ramp = ((rows + columns) * 400).astype(np.uint16)
for name, order in (("little", "<"), ("big", ">")):
    tifffile.imwrite(f"{name}.tif", ramp, byteorder=order)
little, big = (Image.open(f"{name}.tif") for name in ("little", "big"))
assert np.array_equal(little, ramp) and np.array_equal(big, ramp)
steps = {
    "nearest": lambda image: image.resize((48, 32), Resampling.NEAREST),
    "crop": lambda image: image.crop((3, 4, 50, 40)),
    "transpose": lambda image: image.transpose(Transpose.ROTATE_90),
    "bilinear": lambda image: image.resize((48, 32), Resampling.BILINEAR),
    "bicubic": lambda image: image.resize((48, 32), Resampling.BICUBIC),
    "Lanczos": lambda image: image.resize((48, 32), Resampling.LANCZOS),
    "thumbnail": lambda image: thumbnail(image.copy()),
}
print(f"Pillow {PIL.__version__}, a ramp of 0 to {ramp.max()}, from a TIFF as {little.mode} and as {big.mode}; levels of 65535 they are apart")
apart = {}
for step, apply in steps.items():
    levels = np.abs(np.asarray(apply(little)).astype(float) - np.asarray(apply(big)))
    apart[step] = levels.max()
    print(f"{step}: {levels.max():.0f} at most, {levels.mean():.0f} on average")
print("one row by bicubic:", *np.asarray(steps["bicubic"](little))[9, 5:12], "and", *np.asarray(steps["bicubic"](big))[9, 5:12])
by_hand = ramp.reshape(32, 2, 48, 2).mean((1, 3))
assert np.abs(np.asarray(little.resize((48, 32), Resampling.BOX)) - by_hand).max() <= 1
assert all(levels == 0 if step in ("nearest", "crop", "transpose") else levels > 40000 for step, levels in apart.items())
native = Image.fromarray(np.asarray(big).astype("<u2"))
assert native.mode == "I;16" and np.array_equal(steps["bicubic"](native), steps["bicubic"](little))
PYTHON_CODE
