#!/usr/bin/env bash
# One would guess: labels that do not fit a data set's type (999 into uint8) are refused by h5py, or wrap as in NumPy.
# True:            HDF5 clips them: all classes from 255 on become class 255. zarr wraps them, pyarrow refuses; only a single number is refused by all.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet h5py==3.16.0 zarr==3.1.6 pyarrow==26.0.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import h5py
import numpy as np
import pyarrow as pa
import zarr

labels = np.arange(1000)
with h5py.File("labels.h5", "w") as file:
    clipped = file.create_dataset("label", 1000, "uint8")
    clipped[:] = labels
    clipped = clipped[:]
wrapped = zarr.create_array({}, shape=1000, dtype="uint8")
wrapped[:] = labels
wrapped = wrapped[:]
print(f"h5py {h5py.__version__}, zarr {zarr.__version__}, pyarrow {pa.__version__}: labels 0 to 999 written into uint8")
print(f"h5py: 254, 255, 256, 999 become {clipped[[254, 255, 256, 999]].tolist()}; {np.mean(clipped == 255):.1%} of the pictures are of class 255")
print(f"zarr: {wrapped[[254, 255, 256, 999]].tolist()}")
try:
    pa.array(labels, pa.uint8())
    raise SystemExit("pyarrow takes them")
except pa.ArrowInvalid as error:
    print("pyarrow:", error)
assert (clipped == labels.clip(0, 255)).all() and (wrapped == labels % 256).all()
PYTHON_CODE
