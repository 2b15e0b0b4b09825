#!/usr/bin/env bash
# One would guess: pillow-heif's quality=-1, lossless by its documentation, gives the pixels that were saved; at the latest with the chroma=444 that it names.
# True:            dozens of levels away, as chroma is halved; with 444 still one level on a third of the values, as colours are converted; lossless only with matrix_coefficients=0 too.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pillow-heif==1.8.1 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import io

import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()
noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
picture = Image.fromarray(noise).resize((256, 192), Image.Resampling.BILINEAR)
print(f"pillow-heif {pillow_heif.__version__}: levels of 255 from what was saved")
far = {}
for name, options in {
    "quality=-1": {"quality": -1},
    "quality=-1, chroma=444": {"quality": -1, "chroma": 444},
    "quality=-1, chroma=444, matrix_coefficients=0": {"quality": -1, "chroma": 444, "matrix_coefficients": 0},
}.items():
    file = io.BytesIO()
    picture.save(file, "HEIF", **options)
    difference = np.abs(np.asarray(Image.open(file)).astype(int) - np.asarray(picture))
    far[name] = int(difference.max())
    print(f"{name}: up to {far[name]}, mean {difference.mean():.2f}")
assert list(far.values())[0] > 10 and list(far.values())[1] > 0 and list(far.values())[2] == 0
PYTHON_CODE
