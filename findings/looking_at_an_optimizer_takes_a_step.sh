#!/usr/bin/env bash
# One would guess: get_state_dict, or get_optimizer_state_dict, of torch.distributed.checkpoint reads: a run that stores itself before its first step, or makes the entries that a checkpoint is loaded into, trains as one that does not.
# True:            an optimizer that has no state yet is made to take a step with gradients of zero: its count is 1, so that Adam's first real step is 0.74 of the learning rate, RAdam, ASGD and Rprop end elsewhere, and SGD has the decay of the first weights for its momentum. On one process too; optimizer.state_dict() reads only.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import copy
import warnings

import torch
from torch import nn, optim
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

warnings.simplefilter("error")
RATE = 0.1


def trained(make, look, steps):
    """The weights, which begin at 1, after some steps of gradient 1."""
    model = nn.Linear(4, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = make(model.parameters())
    weights = copy.deepcopy(model.state_dict())
    look(model, optimizer)
    assert torch.equal(model.weight, weights["weight"])
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
    return model.weight[0, 0].item()


optimizers = {
    "AdamW": lambda weights: optim.AdamW(weights, RATE, weight_decay=0),
    "RAdam": lambda weights: optim.RAdam(weights, RATE),
    "NAdam": lambda weights: optim.NAdam(weights, RATE),
    "Rprop": lambda weights: optim.Rprop(weights, RATE),
    "SGD, momentum": lambda weights: optim.SGD(weights, RATE, momentum=0.9),
    "SGD, momentum, decay of 0.1": lambda weights: optim.SGD(weights, RATE, momentum=0.9, weight_decay=0.1),
    "SGD, momentum, dampening of 0.9": lambda weights: optim.SGD(weights, RATE, momentum=0.9, dampening=0.9),
}
looks = {
    "nothing": lambda model, optimizer: None,
    "state_dict": lambda model, optimizer: optimizer.state_dict(),
    "get_optimizer_state_dict": get_optimizer_state_dict,
}
print(f"torch {torch.__version__}: how far weights go by steps of gradient 1, after a look at the optimizer")
ways = {}
for name, make in optimizers.items():
    for look, function in looks.items():
        ways[name, look] = [round(1 - trained(make, function, steps), 4) for steps in (1, 10)]
        print(f"{name}, {look}: {ways[name, look][0]} by the first, {ways[name, look][1]} by ten")
    assert ways[name, "nothing"] == ways[name, "state_dict"]
    moved = ways[name, "nothing"][0] != ways[name, "get_optimizer_state_dict"][0]
    assert moved == (name != "SGD, momentum")
assert ways["AdamW", "nothing"][0] == RATE and 0.07 < ways["AdamW", "get_optimizer_state_dict"][0] < 0.08
PYTHON_CODE
