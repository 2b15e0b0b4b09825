#!/usr/bin/env bash
# One would guess: tinygrad's interpolate of a uint8 picture gives what it gives for the same picture in floats, rounded.
# True:            the difference of two neighbours is put into int8: right up to 127 levels, wrapped beyond, so that edges between dark and bright have colours of neither side. The Resize of an ONNX file that takes uint8 goes the same way.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet tinygrad==0.14.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os

os.environ["DEV"] = "PYTHON"  # needs no compiler
from importlib.metadata import version

import numpy as np
from tinygrad import Tensor

print(f"tinygrad {version('tinygrad')}: 8 × 8 made 5 × 5")
far = {}
for name, bright in (("soft", 120), ("hard", 160)):
    picture = np.broadcast_to(np.uint8([0, 0, 0, bright, 0, 0, bright, bright]), (1, 3, 8, 8)).copy()
    here = Tensor(picture).interpolate((5, 5)).numpy()
    there = Tensor(picture.astype(np.float32)).interpolate((5, 5)).numpy()
    far[name] = np.abs(here.astype(float) - there).max()
    print(f"edges of {bright}: {here[0, 0, 0].tolist()}; as floats {there[0, 0, 0].round(1).tolist()}")
assert here.dtype == np.uint8 and far["soft"] <= 1 and far["hard"] > 50
PYTHON_CODE
