#!/usr/bin/env bash
# One would guess: the memory format is about speed: of one seed, a network that is moved to channels_last before its weights are drawn, or whose pictures are, begins with the same weights, noise and dropout.
# True:            random numbers go by the memory format: initial weights, noise and dropout masks are others. Drawn first and moved then, weights are the same.
# PYTHON=python3 takes the packages that are there.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import torch
import torchvision
from torch.nn import functional

last = torch.channels_last
zeros = torch.zeros(8, 16, 14, 14)


def drawn(draw, *arguments):
    torch.manual_seed(0)
    return draw(*arguments)


def network(move_first):
    net = torchvision.models.resnet50()
    if move_first:
        net.to(memory_format=last)
    torch.manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return net.to(memory_format=last)


print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, on a CPU, seed 0 each time")
for name, draw in {"randn_like": torch.randn_like, "dropout": lambda x: functional.dropout(x + 1)}.items():
    plain, moved = drawn(draw, zeros), drawn(draw, zeros.to(memory_format=last))
    print(f"{name}: {(plain != moved).float().mean():.0%} of the values are others in channels_last")
    assert (plain != moved).float().mean() > 0.3
plain, moved = network(False), network(True)
layers = [(a.weight, b.weight) for a, b in zip(plain.modules(), moved.modules()) if isinstance(a, torch.nn.Conv2d)]
others = sum(not torch.equal(a, b) for a, b in layers)
print(f"ResNet-50, moved to channels_last before its weights are drawn: {others} of {len(layers)} convolutions have other weights than when moved after")
assert others > 10
PYTHON_CODE
