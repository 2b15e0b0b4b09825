#!/usr/bin/env bash
# One would guess: a Pillow picture that was made smaller or drawn on is what .save('x.jxl') writes, and lossless_jpeg=True is without loss.
# True:            opened from a JPEG's file, that file is packed again: what was done in place (thumbnail, draw, paste) is lost. Opened from memory, lossless_jpeg=True is ignored, and it is lossy.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pillow-jxl-plugin==1.3.8 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import io
import pathlib
import warnings
from importlib.metadata import version

import numpy as np
import pillow_jxl  # noqa: F401 - registers the format
from PIL import Image, ImageDraw

warnings.simplefilter("ignore")  # the plugin's own says that JPEGs are packed without loss
ramp = np.linspace(0, 255, 640).astype(np.uint8)
noise = np.random.default_rng(0).integers(-40, 40, (480, 640, 3))
Image.fromarray((np.tile(ramp, (480, 1))[..., None] + noise).clip(0, 255).astype(np.uint8)).save("photo.jpg")
print(f"pillow-jxl-plugin {version('pillow-jxl-plugin')}, a JPEG of 640 × 480")

picture = Image.open("photo.jpg")
picture.thumbnail((64, 64))
picture.save("small.jxl")
picture.save("small.png")
sizes = picture.size, Image.open("small.png").size, Image.open("small.jxl").size
print("after thumbnail(): {} in memory, {} in the PNG, {} in the JPEG XL".format(*sizes))

picture = Image.open("photo.jpg")
ImageDraw.Draw(picture).rectangle((0, 0, 639, 479), fill=(255, 0, 0))
picture.save("red.jxl")
stored = Image.open("red.jxl").convert("RGB").getpixel((600, 9))
print(f"after painting it red: {picture.getpixel((600, 9))} in memory, {stored} in the JPEG XL")

resized = Image.open("photo.jpg").resize((64, 48))
resized.save("new.jxl")
print(f"resize(), which gives another picture: {Image.open('new.jxl').size}")

memory = Image.open(io.BytesIO(pathlib.Path("photo.jpg").read_bytes()))
lost = []
for picture in (Image.open("photo.jpg"), memory):
    picture.save("packed.jxl", lossless_jpeg=True)
    lost.append(int(np.abs(np.asarray(Image.open("packed.jxl").convert("RGB")).astype(int) - np.asarray(picture)).max()))
print("lossless_jpeg=True: {} levels of 255 away if opened by name, {} if opened from memory".format(*lost))
assert lost[0] == 0 and lost[1] > 0
assert sizes == ((64, 48), (64, 48), (640, 480))
assert max(abs(a - b) for a, b in zip(stored, (255, 0, 0))) > 60 and Image.open("new.jxl").size == (64, 48)
PYTHON_CODE
