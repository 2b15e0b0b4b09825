#!/usr/bin/env bash
# One would guess: optimizers with fused=True take the step of fused=False on a CPU too, however weights, gradients and momentum lie in memory: a run that was begun without channels_last may be resumed with it.
# True:            the fused kernels of a CPU read memory in its order: momentum from a checkpoint, or gradients of torch.autograd.grad, that are contiguous where the weights are channels_last, or the other way round, move other weights than theirs, without a word. Gradients of backward() always lie as their weights do.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import copy
import warnings

import torch
from torch import nn

warnings.simplefilter("error")
torch.manual_seed(0)
images, labels = torch.randn(16, 3, 16, 16), torch.randint(4, (16,))
OPTIMIZERS = {
    "SGD": lambda weights, fused: torch.optim.SGD(weights, lr=0.05, momentum=0.9, fused=fused),
    "AdamW": lambda weights, fused: torch.optim.AdamW(weights, lr=0.01, fused=fused),
    "Adagrad": lambda weights, fused: torch.optim.Adagrad(weights, lr=0.01, fused=fused),
}


def network():
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 16, 3, bias=False), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, 4)).double()


def step(model, optimizer, pixels, by_backward=True):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(pixels.double()), labels)
    if by_backward:
        loss.backward()
    else:
        for weight, gradient in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
            weight.grad = gradient
    optimizer.step()


def resumed(make, fused, order):
    """Five contiguous steps, and five more of a new model and optimizer, in another order of memory."""
    model = network()
    optimizer = make(model.parameters(), fused)
    for _ in range(5):
        step(model, optimizer, images)
    states = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    model = network().to(memory_format=order)
    optimizer = make(model.parameters(), fused)
    model.load_state_dict(states[0])
    optimizer.load_state_dict(states[1])
    for _ in range(5):
        step(model, optimizer, images.contiguous(memory_format=order))
    return nn.utils.parameters_to_vector(weight.contiguous() for weight in model.parameters())


def by_autograd_grad(make, fused, order):
    model = network()
    optimizer = make(model.parameters(), fused)
    for _ in range(10):
        step(model, optimizer, images.contiguous(memory_format=order), by_backward=False)
    return nn.utils.parameters_to_vector(weight.contiguous() for weight in model.parameters())


print(f"torch {torch.__version__} on a CPU, float64: how far channels_last takes the weights from where contiguous does")
for name, make in OPTIMIZERS.items():
    for run in (resumed, by_autograd_grad):
        apart = []
        for fused in (False, True):
            one, other = (run(make, fused, order) for order in (torch.contiguous_format, torch.channels_last))
            way = one - nn.utils.parameters_to_vector(network().parameters())
            apart.append((one - other).norm() / way.norm())
        plain, fused = apart
        print(f"{name}, {run.__name__}: {plain:.0e} of their way, with fused=True {fused:.0%}")
        assert plain < 1e-8 and fused > 0.05
PYTHON_CODE
