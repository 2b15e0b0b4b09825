#!/usr/bin/env bash
# One would guess: a checkpoint trained in NCHW goes on in channels_last, or a model moves to channels_last between two steps, with fused=True as without it.
# True:            on a CPU fused SGD, Adam and AdamW read momentum, weight and gradient in the order of their memory: each weight gets the momentum of another. foreach and the loop are right; on a GPU (torch 2.11) fused refuses it.
# PYTHON=python3 takes the packages that are there.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import copy

import torch

print(f"torch {torch.__version__}: a step of a convolution in channels_last, its optimizer's state of an NCHW run")
for optimizer, arguments in ((torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}), (torch.optim.Adam, {"lr": 0.01}), (torch.optim.AdamW, {"lr": 0.01})):
    moved = []
    for kind in ({"foreach": False}, {"foreach": True}, {"fused": True}):
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(16, 32, 3, bias=False)
        pictures = torch.randn(8, 16, 12, 12)

        def step(steps):
            layer(pictures).square().mean().backward()
            steps.step()
            steps.zero_grad()

        first = optimizer(layer.parameters(), **arguments, **kind)
        step(first)
        checkpoint = copy.deepcopy(first.state_dict())
        layer.to(memory_format=torch.channels_last)
        second = optimizer(layer.parameters(), **arguments, **kind)
        second.load_state_dict(checkpoint)
        before = layer.weight.detach().clone()
        step(second)
        moved.append((layer.weight - before).detach())
    loop, foreach, fused = moved
    apart = [((one - loop).norm() / loop.norm()).item() for one in (foreach, fused)]
    print(f"{optimizer.__name__}: from the plain loop's step, foreach is {apart[0]:.1e} of it away, fused {apart[1]:.2f}")
    assert apart[0] < 1e-4 and apart[1] > 0.1
PYTHON_CODE
