#!/usr/bin/env bash
# One would guess: datasets stores the picture that map's function returns.
# True:            of a picture opened from a file it stores the file's name: a thumbnail made in place is forgotten, the large file stays.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==12.3.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import datasets
import numpy as np
from PIL import Image

datasets.disable_progress_bars()
Image.fromarray(np.zeros((240, 320, 3), dtype=np.uint8)).save("large.jpg")


def smaller(row):
    picture = Image.open(row["file"])
    picture.thumbnail((64, 64))
    assert picture.size == (64, 48)
    return {"image": picture}


def made_anew(row):
    return {"image": Image.open(row["file"]).resize((64, 48))}


features = datasets.Features({"file": datasets.Value("string"), "image": datasets.Image()})
data = datasets.Dataset.from_dict({"file": ["large.jpg"]})
in_place, anew = (data.map(function, features=features) for function in (smaller, made_anew))
stored = in_place.cast_column("image", datasets.Image(decode=False))[0]["image"]
print(f"datasets {datasets.__version__}: the function returned a picture of 64 x 48")
print(f"thumbnail(), in place: {in_place[0]['image'].size}; stored: {stored}")
print(f"resize(), a new one:   {anew[0]['image'].size}")
assert in_place[0]["image"].size == (320, 240) and stored["bytes"] is None and anew[0]["image"].size == (64, 48)
PYTHON_CODE
