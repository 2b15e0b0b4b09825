#!/usr/bin/env bash
# One would guess: a step that GradScaler skips leaves SGD's momentum as it was: none before the first step, so none after it.
# True:            fused SGD has a momentum then, of uninitialised memory, and goes on from it: weights of any size, or NaN.
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
import torch

# Memory that nobody wrote is filled with NaN, so that what is read of it shows.
torch.use_deterministic_algorithms(True)
torch.utils.deterministic.fill_uninitialized_memory = True
print(f"torch {torch.__version__}, on a CPU: two steps of SGD with momentum 0.9, the first of which overflows")
ends = {}
for fused in (False, True):
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor in (float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale((factor * weight).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        momentum = optimizer.state[weight].get("momentum_buffer")
        print(f"fused={fused}: weights {weight.tolist()}, momentum {None if momentum is None else momentum.tolist()}")
    ends[fused] = weight.detach()
torch.testing.assert_close(ends[False], torch.full((4,), 0.9))
assert ends[True].isnan().all()
PYTHON_CODE
