#!/usr/bin/env bash
# One would guess: a lossless WebP gives the pixels of the PNG it was made from, also after convert("RGB").
# True:            where the picture is transparent its colours become black (unless exact=True), and convert("RGB") shows them.
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
"$PYTHON" - <<'PYTHON_CODE'
import io

import numpy as np
import PIL
from PIL import Image

colours = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
alpha = np.full((64, 64, 1), 255, dtype=np.uint8)
alpha[:32] = 0
picture = Image.fromarray(np.concatenate([colours, alpha], axis=2))
print(f"Pillow {PIL.__version__}: a picture whose upper half is transparent, saved, opened, convert('RGB')")
differ = {}
for name, options in {"png": {}, "webp lossless": {"lossless": True}, "webp lossless, exact": {"lossless": True, "exact": True}}.items():
    file = io.BytesIO()
    picture.save(file, name.split()[0], **options)
    read = np.asarray(Image.open(file).convert("RGB"))
    differ[name] = (read != colours).any(-1).mean()
    print(f"{name}: {differ[name]:.0%} of the pixels differ, mean of the upper half {read[:32].mean():.0f}")
assert differ["png"] == differ["webp lossless, exact"] == 0 and differ["webp lossless"] > 0.49
PYTHON_CODE
