#!/usr/bin/env bash
# One would guess: clip_grad_norm_ on parameters that the optimizer has read through already warns that there are none, as it does for a generator.
# True:            only a generator is noticed: what filter(…) of a fine-tuning or itertools.chain has left is nothing, the norm is 0 and no gradient is ever clipped, silently.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import itertools
import warnings

import torch
from torch import nn

print(f"torch {torch.__version__}: a gradient of norm 2236, clipped to 1")
given = {
    "a list": lambda model: list(model.parameters()),
    "a generator": lambda model: (p for p in model.parameters() if p.requires_grad),
    "filter": lambda model: filter(lambda p: p.requires_grad, model.parameters()),
    "itertools.chain": lambda model: itertools.chain(model[0].parameters(), model[1].parameters()),
}
for name, take in given.items():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    parameters = take(model)
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    (1000 * model(torch.ones(1, 4))).sum().backward()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        told = nn.utils.clip_grad_norm_(parameters, max_norm=1.0).item()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm().item()
    print(f"{name}: told {told:.0f}, the norm is then {norm:.0f}, {len(caught)} warnings")
    assert (norm > 1000, len(caught)) == {"a list": (False, 0), "a generator": (True, 1)}.get(name, (True, 0))
PYTHON_CODE
