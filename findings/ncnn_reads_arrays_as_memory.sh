#!/usr/bin/env bash
# One would guess: ncnn.Mat(array) copies a NumPy array, or holds on to it, and takes a transposed one as what it shows, or refuses it.
# True:            it takes the address alone: pixels.transpose(2, 0, 1) is read in the order of memory, so colours and places are mixed, and the array is not kept alive: of ncnn.Mat((pixels - mean) / std) the memory is free, and soon somebody else's. Mat(np.ascontiguousarray(x)).clone() of a named array is right.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet ncnn==1.0.20261020 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import sys
from importlib.metadata import version

import ncnn
import numpy as np

pixels = np.random.default_rng(0).uniform(0, 1, (64, 48, 3)).astype(np.float32)
transposed = pixels.transpose(2, 0, 1)
contiguous = np.ascontiguousarray(transposed)
wrong, right = np.array(ncnn.Mat(transposed)), np.array(ncnn.Mat(contiguous))
print(f"ncnn {version('ncnn')}: of {transposed.shape}, as a transposed view {np.mean(wrong == transposed):.0%} of the values are in their place, contiguous {np.mean(right == transposed):.0%}")
assert wrong.shape == transposed.shape and np.array_equal(wrong.ravel(), pixels.ravel()) and np.array_equal(right, transposed)
before = sys.getrefcount(contiguous)
mat, copied = ncnn.Mat(contiguous), ncnn.Mat(contiguous).clone()
held = sys.getrefcount(contiguous) - before
contiguous[:] = 7
print(f"references to the array that a Mat holds: {held}; after it was overwritten, Mat holds {np.array(mat).mean():.2f} on average, its clone {np.array(copied).mean():.2f}")
assert held == 0 and (np.array(mat) == 7).all() and np.array_equal(np.array(copied), transposed)
PYTHON_CODE
