#!/usr/bin/env bash
# One would guess: BatchNorm gives mean 0 and deviation 1 whatever the mean of its input, as PyTorch's does: that of 16-bit pictures between 29985 and 30015, say.
# True:            Flax takes the variance as mean of squares minus square of the mean (use_fast_variance is on), in float32: rounding is larger than the variance, and the deviation is anything from 0.3 to hundreds. Keras does so on NumPy and PyTorch, and is right on JAX.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet flax==0.12.8 jax==0.10.2 keras==3.15.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os
import subprocess
import sys
from importlib.metadata import version

os.environ["JAX_PLATFORMS"] = "cpu"
import jax.numpy as jnp
import numpy as np
from flax import nnx

KERAS = """
import keras, numpy as np
print(float(keras.ops.std(keras.layers.BatchNormalization()(np.load("pixels.npy"), training=True))))
"""
pixels = (30000 + np.random.default_rng(0).normal(0, 4, (4096, 1))).round().astype(np.float32)
np.save("pixels.npy", pixels)
deviation = {
    "Flax": float(nnx.BatchNorm(1, rngs=nnx.Rngs(0))(jnp.asarray(pixels)).std()),
    "Flax, use_fast_variance=False": float(nnx.BatchNorm(1, use_fast_variance=False, rngs=nnx.Rngs(0))(jnp.asarray(pixels)).std()),
}
for backend in ("numpy", "jax"):
    answer = subprocess.run([sys.executable, "-c", KERAS], env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True, check=True)
    deviation[f"Keras on {backend}"] = float(answer.stdout.split()[-1])
print(f"flax {version('flax')}, keras {version('keras')}: batch norm of pixels of mean 30000 and deviation 4 has the deviation")
for name, value in deviation.items():
    print(f"{name}: {value:.2f}")
right = ("Flax, use_fast_variance=False", "Keras on jax")
assert all(abs(value - 1) < 0.1 if name in right else abs(value - 1) > 0.5 for name, value in deviation.items())
PYTHON_CODE
