#!/usr/bin/env bash
# One would guess: SGD(0.1, momentum=0.9, weight_decay=1e-4) is the same optimizer in Keras and in PyTorch.
# True:            Keras takes the decay past the momentum, as AdamW does: weights shrink ten times more slowly, and a recipe of 1e-4 needs 1e-3; it also decays biases and BatchNorm.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet keras==3.15.1 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os

os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
import torch

STEPS = 5000


def by_keras(weight_decay):
    weight = keras.Variable(np.ones(1, "float32"))
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=weight_decay)
    optimizer.build([weight])
    for _ in range(STEPS):
        optimizer.apply([keras.ops.zeros(1)])
    return float(keras.ops.convert_to_numpy(weight)[0])


def by_torch(weight_decay):
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=weight_decay)
    for _ in range(STEPS):
        weight.grad = torch.zeros(1)
        optimizer.step()
    return weight.item()


print(f"Keras {keras.__version__}, torch {torch.__version__}: a weight of 1 after {STEPS} steps without a gradient, lr 0.1, momentum 0.9")
kept = {name: by(1e-4) for name, by in {"Keras": by_keras, "PyTorch": by_torch}.items()}
ten = by_keras(1e-3)
print(f"weight_decay=1e-4: {kept}; Keras with 1e-3: {ten:.4f}")
assert abs(kept["Keras"] - np.exp(-0.05)) < 1e-3 and abs(kept["PyTorch"] - np.exp(-0.5)) < 5e-3 and abs(ten - kept["PyTorch"]) < 5e-3

model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
optimizer = keras.optimizers.SGD(0.1, weight_decay=1.0)
optimizer.build(model.trainable_variables)
model.layers[0].bias.assign(np.ones(2))
optimizer.apply([keras.ops.zeros_like(v) for v in model.trainable_variables])
bias, gamma = (float(keras.ops.convert_to_numpy(v)[0]) for v in (model.layers[0].bias, model.layers[1].gamma))
print(f"one step of weight_decay=1: a bias of 1 becomes {bias:.1f}, BatchNorm's gamma {gamma:.1f}")
assert abs(bias - 0.9) < 1e-4 and abs(gamma - 0.9) < 1e-4
PYTHON_CODE
