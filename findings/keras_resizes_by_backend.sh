#!/usr/bin/env bash
# One would guess: a Keras model with a Resizing layer prepares a picture alike on each backend: its file names the layer, not the backend.
# True:            bilinear does; bicubic on PyTorch has another kernel than on JAX, several levels apart on most values. A model that was trained on one and is served on the other sees other pictures.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet keras==3.15.1 torch==2.14.1 jax==0.10.2 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os
import subprocess
import sys
from importlib.metadata import version

import numpy as np
from PIL import Image

KERAS = """
import sys, keras, numpy as np
for name in ("bilinear", "bicubic"):
    resized = keras.layers.Resizing(224, 224, interpolation=name)(np.load("pixels.npy"))
    np.save(f"{name}_{keras.backend.backend()}.npy", keras.ops.convert_to_numpy(resized))
"""
coarse = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
np.save("pixels.npy", np.asarray(Image.fromarray(coarse).resize((320, 240)), np.float32)[None])
for backend in ("jax", "torch"):
    subprocess.run([sys.executable, "-c", KERAS], env=os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}, capture_output=True, check=True)
print(f"keras {version('keras')}, torch {version('torch')}, jax {version('jax')}: Resizing of 320 × 240 to 224 × 224, levels of 255 apart")
for name in ("bilinear", "bicubic"):
    far = np.abs(np.load(f"{name}_torch.npy") - np.load(f"{name}_jax.npy"))
    print(f"{name}: up to {far.max():.2f}, more than half a level for {(far > 0.5).mean():.0%} of the values")
    assert (far.max() > 3 and (far > 0.5).mean() > 0.3) if name == "bicubic" else far.max() < 0.01
PYTHON_CODE
