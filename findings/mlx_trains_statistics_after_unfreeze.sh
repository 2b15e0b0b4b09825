#!/usr/bin/env bash
# One would guess: in MLX, unfreeze() after freeze() gives back what was trainable before: BatchNorm's weights and biases, while its running statistics are "always frozen", as its code says.
# True:            called on the network, as in fine-tuning the head first and then all, it makes the running means and variances trainable too: with BatchNorm in evaluation mode they follow gradients, away from the statistics of any picture, and variances become negative, which is NaN; unfreeze() on the BatchNorm itself does not.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet "mlx[cpu]==0.32.4" numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W error - <<'PYTHON_CODE'
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers
import numpy as np
from mlx.utils import tree_flatten

rng = np.random.default_rng(0)
pixels = mx.array(rng.normal(0, 0.1, (32, 8, 8, 3)).astype(np.float32))
labels = mx.array(rng.integers(0, 4, 32))


def network():
    mx.random.seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm(8), nn.ReLU(), lambda maps: maps.mean((1, 2)), nn.Linear(8, 4))


def trainable(model):
    return [name.removeprefix("layers.1.") for name, _ in tree_flatten(model.trainable_parameters()) if name.startswith("layers.1.")]


def loss(model):
    return nn.losses.cross_entropy(model(pixels), labels, reduction="mean")


def train(model, steps):
    """Statistics as the pictures have them, then training with BatchNorm in evaluation mode, as is usual for few pictures."""
    statistics = model.layers[0](pixels)
    norm = model.layers[1]
    norm.running_mean, norm.running_var = statistics.mean((0, 1, 2)), statistics.var((0, 1, 2))
    before = {name: np.array(norm[name]) for name in ("running_mean", "running_var")}
    model.eval()
    optimizer, step = optimizers.SGD(0.1), nn.value_and_grad(model, loss)
    for _ in range(steps):
        _, gradients = step(model)
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
    return {name: float(np.abs(np.array(norm[name]) - values).max()) for name, values in before.items()}, float(np.array(norm.running_var).min()), loss(model).item()


print(f"MLX {mx.__version__}")
as_it_was, back, single = network(), network(), network()
back.freeze()
back.unfreeze()
single.freeze()
for layer in single.layers:
    if isinstance(layer, nn.Module):
        layer.unfreeze()
for name, model in {"as it was made": as_it_was, "freeze(), unfreeze()": back, "freeze(), each layer's unfreeze()": single}.items():
    names = trainable(model)
    moved, smallest, value = train(model, 200)
    print(f"{name}: of BatchNorm {', '.join(names)} are trainable; after 200 steps running_mean has moved by {moved['running_mean']:.3f}, the smallest variance is {smallest:.4f}, the loss {value:.3f}")
    stays = moved == {"running_mean": 0.0, "running_var": 0.0}
    assert stays == (name != "freeze(), unfreeze()") == ("running_var" not in names)
    assert stays or smallest < 0 or np.isnan(smallest)
PYTHON_CODE
