#!/usr/bin/env bash
# One would guess: ncnn.Mat(array) and MNN.expr.const(array, …) copy a NumPy array, or hold on to it, and take a transposed one as what it shows, or refuse it.
# True:            they take the address alone: pixels.transpose(2, 0, 1) is read in the order of memory, so colours and places are mixed. ncnn does not copy or keep the array alive either: of ncnn.Mat((pixels - mean) / std) the memory is free, and soon somebody else's. Mat(np.ascontiguousarray(x)).clone() of a named array is right.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet ncnn==1.0.20261020 MNN==3.6.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import sys
from importlib.metadata import version

import MNN.expr
import ncnn
import numpy as np

pixels = np.random.default_rng(0).uniform(0, 1, (64, 48, 3)).astype(np.float32)
transposed = pixels.transpose(2, 0, 1)
contiguous = np.ascontiguousarray(transposed)
wrong, right = np.array(ncnn.Mat(transposed)), np.array(ncnn.Mat(contiguous))
print(f"ncnn {version('ncnn')}: of {transposed.shape}, as a transposed view {np.mean(wrong == transposed):.0%} of the values are in their place, contiguous {np.mean(right == transposed):.0%}")
assert wrong.shape == transposed.shape and np.array_equal(wrong.ravel(), pixels.ravel()) and np.array_equal(right, transposed)
by_mnn = np.array(MNN.expr.const(transposed, list(transposed.shape), MNN.expr.NCHW, MNN.expr.float).read())
print(f"MNN {version('MNN')}, the view: {np.mean(by_mnn == transposed):.0%}")
assert np.array_equal(by_mnn.ravel(), pixels.ravel())
before = sys.getrefcount(contiguous)
mat, copied = ncnn.Mat(contiguous), ncnn.Mat(contiguous).clone()
held = sys.getrefcount(contiguous) - before
contiguous[:] = 7
print(f"references to the array that a Mat holds: {held}; after it was overwritten, Mat holds {np.array(mat).mean():.2f} on average, its clone {np.array(copied).mean():.2f}")
assert held == 0 and (np.array(mat) == 7).all() and np.array_equal(np.array(copied), transposed)
PYTHON_CODE
