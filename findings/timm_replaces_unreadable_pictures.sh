#!/usr/bin/env bash
# One would guess: timm's dataset raises where a picture cannot be read.
# True:            it logs a line and gives the next picture, with that one's label: an evaluation counts some twice and misses no number.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet timm==1.0.31 torch==2.14.1 torchvision==0.29.1 pillow==12.3.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import pathlib

import timm
from PIL import Image
from timm.data import create_dataset

for folder in ("a", "b"):
    pathlib.Path("photos", folder).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(f"photos/{folder}/0.png")
pathlib.Path("photos/a/1.png").write_bytes(b"not a picture")
data = create_dataset("", "photos")
labels = [data[place][1] for place in range(len(data))]
print(f"timm {timm.__version__}: folder a holds a picture and a broken file, b a picture; labels read: {labels}")
assert labels == [0, 1, 1]
PYTHON_CODE
