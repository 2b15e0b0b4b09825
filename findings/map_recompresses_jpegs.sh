#!/usr/bin/env bash
# One would guess: datasets' map that returns the picture it was given keeps its bytes, or at least its pixels.
# True:            each pass writes a JPEG again at Pillow's quality 75, 4:2:0: a quarter of the bytes, dozens of levels away, more each time.
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
import io

import datasets
import numpy as np
from PIL import Image

datasets.disable_progress_bars()
coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
picture = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)
file = io.BytesIO()
picture.save(file, "jpeg", quality=96, subsampling="4:4:4")
as_image = datasets.Features({"image": datasets.Image()})
data = datasets.Dataset.from_dict({"image": [{"bytes": file.getvalue(), "path": None}]}, features=as_image)


def stored(data):
    return data.cast_column("image", datasets.Image(decode=False))[0]["image"]["bytes"]


def pixels(data):
    return np.asarray(data[0]["image"]).astype(int)


print(f"datasets {datasets.__version__}: a JPEG of {len(stored(data))} bytes")
before, errors = pixels(data), []
for count in (1, 2, 3):
    data = data.map(lambda row: {"image": row["image"]})
    errors.append(np.abs(pixels(data) - before).max())
    print(f"mapped {count} times: {len(stored(data))} bytes, {errors[-1]} of 255 levels away")
assert len(stored(data)) < len(file.getvalue()) / 2 and 20 < errors[0] < errors[2]
PYTHON_CODE
