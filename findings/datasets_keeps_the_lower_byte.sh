#!/usr/bin/env bash
# One would guess: colour pictures of 16 bits, as arrays, are scaled to the 8 bits that Pillow has for colours, or refused as floats are; grey ones of 16 bits are kept whole.
# True:            datasets' Image keeps the lower byte: a ramp from dark to bright becomes a saw of 256 teeth; integers of 0 to 1000 wrap too. The warning speaks of downcasting, as it does for harmless int64.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import datasets
import numpy as np

datasets.disable_progress_bars()
features = datasets.Features({"image": datasets.Image()})


def stored(pixels):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        data = datasets.Dataset.from_dict({"image": [pixels]}, features=features)
    return np.asarray(data[0]["image"]), [str(warning.message) for warning in warned]


ramp = np.linspace(0, 65535, 1000).astype(np.uint16)
grey = np.tile(ramp, (4, 1))
colour = np.stack([grey] * 3, axis=2)
print(f"datasets {datasets.__version__}")
for name, pixels in (("uint16, grey", grey), ("uint16, colour", colour), ("int64 of 8 bits, colour", (colour >> 8).astype(np.int64))):
    values, warned = stored(pixels)
    kept = np.array_equal(values, pixels)
    print(f"{name}: {values.dtype}, kept {kept}, the lower byte {np.array_equal(values, pixels & 255)}; {warned}")
    assert kept == (name != "uint16, colour") and (kept or np.array_equal(values, pixels & 255))
try:
    stored(colour / 65535)
    raise SystemExit("floats are taken")
except TypeError as error:
    print("floats:", error)
PYTHON_CODE
