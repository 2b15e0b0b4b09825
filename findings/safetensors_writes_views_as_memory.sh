#!/usr/bin/env bash
# One would guess: safetensors.numpy.save_file writes what an array shows, also a transposed one, as weights are that come from TensorFlow or JAX, or refuses it, as safetensors.torch does.
# True:            0.8 writes the memory as it lies, with the shape of the view: transposed, sliced, reversed or in Fortran's order, the weights in the file are others, and it loads without a word. 0.7 writes them right.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

kernel = np.random.default_rng(0).normal(size=(3, 3, 16, 32)).astype(np.float32)  # height, width, in, out
views = {
    "as it is": kernel,
    "transpose(3, 2, 0, 1)": kernel.transpose(3, 2, 0, 1),
    "every second channel": kernel[..., ::2],
    "reversed": kernel[..., ::-1],
    "Fortran's order": np.asfortranarray(kernel),
    "np.ascontiguousarray(transposed)": np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)),
}
print(f"safetensors {safetensors.__version__}: values that come back as they were")
for name, weights in views.items():
    save_file({"weights": weights}, "model.safetensors")
    found = load_file("model.safetensors")["weights"]
    right = float(np.mean(found == weights))
    print(f"{name}, {found.shape}: {right:.0%}")
    assert found.shape == weights.shape and (right == 1) == weights.flags.c_contiguous and (right == 1 or right < 0.1)
PYTHON_CODE
