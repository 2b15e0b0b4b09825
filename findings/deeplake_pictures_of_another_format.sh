#!/usr/bin/env bash
# One would guess: a Deep Lake column of pictures, kept as PNG, refuses or converts the bytes of a JPEG, and pixels that are not uint8.
# True:            it stores such bytes, commits, and gives None for that picture; float pixels of 0…1 are cut off to 0, so black, and 16-bit ones lose their upper half.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet deeplake==4.7.4 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import io
from importlib.metadata import version

import deeplake
import numpy as np
from PIL import Image

pixels = np.asarray(Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((80, 60)))
data = deeplake.create("pictures")
data.add_column("image", deeplake.types.Image(sample_compression="png"))


def stored(picture):
    data.append({"image": [picture]})
    data.commit()
    return data["image"][len(data) - 1]


def encoded(name):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, name)
    return file.getvalue()


print(f"deeplake {version('deeplake')}, an image column of PNG")
as_png, as_jpeg = stored(encoded("png")), stored(encoded("jpeg"))
print(f"a PNG's bytes: the same pixels: {np.array_equal(as_png, pixels)}; a JPEG's bytes: {as_jpeg}")
assert np.array_equal(as_png, pixels) and as_jpeg is None
halves, wide = stored(pixels / 255), stored(pixels.astype(np.uint16) * 256)
print(f"floats of 0 to 1: {halves.dtype}, at most {halves.max()}, mean {halves.mean():.3f}; 16 bits: {wide.dtype}, at most {wide.max()}")
assert halves.dtype == np.uint8 and halves.mean() < 0.01 and wide.dtype == np.uint8 and wide.max() == 0
PYTHON_CODE
