#!/usr/bin/env bash
# One would guess: a label of -1, as ImageNet's test pictures have it on the Hub, is an error as in PyTorch, or NaN as a label that is too large is.
# True:            optax counts it from the end, as does Keras' to_categorical: the last class is trained. Keras' cross-entropy on JAX makes it a loss of 0, which trains nothing and lowers the mean.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet optax==0.2.8 keras==3.15.1 jax==0.10.2 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os

os.environ["KERAS_BACKEND"] = "jax"
import warnings

import jax
import keras
import numpy as np
import optax

warnings.simplefilter("error")
logits = np.log(np.array([[0.1, 0.2, 0.7]], np.float32))


def loss(logits, label):
    return optax.softmax_cross_entropy_with_integer_labels(logits, np.array([label])).mean()


print(f"optax {optax.__version__}, Keras {keras.__version__} on JAX; three classes of 0.1, 0.2, 0.7")
seen = {}
for label in (2, -1, 3):
    by_keras = float(keras.losses.SparseCategoricalCrossentropy(from_logits=True)(np.array([label]), logits))
    seen[label] = float(loss(logits, label)), np.asarray(jax.grad(loss)(logits, label)), by_keras
    print(f"label {label}: optax {seen[label][0]:.4f}, its gradient {seen[label][1].round(2).tolist()[0]}, Keras {by_keras:.4f}")
assert seen[-1][0] == seen[2][0] and np.array_equal(seen[-1][1], seen[2][1]) and np.isnan(seen[3][0])
assert abs(seen[2][2] - 0.3567) < 1e-4 and seen[-1][2] == 0
rows = keras.utils.to_categorical([2, -1], 3)
print(f"to_categorical([2, -1], 3): {rows.tolist()}; one_hot of -1: {np.asarray(keras.ops.one_hot(np.array([-1]), 3)).tolist()}")
assert np.array_equal(rows[0], rows[1])
half = float(keras.losses.SparseCategoricalCrossentropy(from_logits=True)(np.array([2, -1]), np.repeat(logits, 2, 0)))
print(f"Keras' loss of a batch with labels 2 and -1: {half:.4f}")
assert abs(half - seen[2][2] / 2) < 1e-4
PYTHON_CODE
