#!/usr/bin/env bash
# One would guess: rows that were cut off an array by resize are gone: grown again, it holds zeros there, as HDF5's does.
# True:            zarr deletes whole chunks only: what stood in the last, half kept one comes back, old pictures in the place of pictures that are still to be written. TensorStore, on the same files, does so too.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet zarr==3.1.6 h5py==3.16.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import h5py
import numpy as np
import zarr

print(f"zarr {zarr.__version__}, h5py {h5py.__version__}: 20 pictures of the value 7, cut to 13, grown to 20 again")
seen = {}
for name, chunks in (("zarr", {"chunks": (10, 8, 8)}), ("zarr, shards", {"chunks": (5, 8, 8), "shards": (10, 8, 8)})):
    pictures = zarr.create_array(f"{name}.zarr", shape=(20, 8, 8), dtype="uint8", **chunks)
    pictures[:] = 7
    zarr.open_array(f"{name}.zarr").resize((13, 8, 8))
    zarr.open_array(f"{name}.zarr").resize((20, 8, 8))
    seen[name] = zarr.open_array(f"{name}.zarr")[:, 0, 0]
with h5py.File("pictures.h5", "w") as file:
    pictures = file.create_dataset("pictures", (20, 8, 8), "uint8", chunks=(10, 8, 8), maxshape=(None, 8, 8))
    pictures[:] = 7
    pictures.resize((13, 8, 8))
    pictures.resize((20, 8, 8))
    seen["HDF5"] = pictures[:, 0, 0]
for name, values in seen.items():
    print(f"{name}: {values.tolist()}")
assert (seen["HDF5"][13:] == 0).all() and (seen["zarr"] == 7).all() and (seen["zarr, shards"] == 7).all()
assert np.array_equal(seen["HDF5"][:13], seen["zarr"][:13])
PYTHON_CODE
