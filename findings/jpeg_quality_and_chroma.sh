#!/usr/bin/env bash
# One would guess: JPEG quality 90 means the same file in every library: all stand on libjpeg's tables, all halve the chroma.
# True:            the tables are the same; libvips keeps the whole chroma from 90 on and halves it at 89, simplejpeg always keeps it: half as large again.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pyvips==3.2.0 pyvips-binary==8.18.7 simplejpeg==1.9.0 opencv-python-headless==5.0.0.93 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import io

import cv2
import numpy as np
import PIL
import pyvips
import simplejpeg
from PIL import Image, JpegImagePlugin

version = ".".join(str(pyvips.version(place)) for place in range(3))
print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}, libvips {version}, simplejpeg {simplejpeg.__version__}")
coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
picture = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)
pixels = np.ascontiguousarray(picture)


def by_pillow(quality):
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=quality)
    return file.getvalue()


ENCODERS = {
    "Pillow": by_pillow,
    "OpenCV": lambda quality: cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes(),
    "libvips": lambda quality: pyvips.Image.new_from_array(pixels).jpegsave_buffer(Q=quality),
    "simplejpeg": lambda quality: simplejpeg.encode_jpeg(pixels, quality=quality),
}
chroma, tables = {}, {}
for quality in (89, 90):
    for name, encode in ENCODERS.items():
        encoded = encode(quality)
        opened = Image.open(io.BytesIO(encoded))
        chroma[name, quality] = ("4:4:4", "4:2:2", "4:2:0")[JpegImagePlugin.get_sampling(opened)]
        tables[name, quality] = opened.quantization
        print(f"quality {quality}, {name}: {chroma[name, quality]}, {len(encoded)} bytes")
    assert all(tables[name, quality] == tables["Pillow", quality] for name in ENCODERS)
assert [chroma[name, 90] for name in ENCODERS] == ["4:2:0", "4:2:0", "4:4:4", "4:4:4"]
assert [chroma[name, 89] for name in ENCODERS] == ["4:2:0", "4:2:0", "4:2:0", "4:4:4"]
PYTHON_CODE
