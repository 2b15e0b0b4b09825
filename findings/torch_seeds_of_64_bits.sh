#!/usr/bin/env bash
# One would guess: torch.manual_seed takes 64 bits: seeds made as (epoch << 32) + rank are all different, and initial_seed() gives them back.
# True:            on the CPU the generator is begun with the lower 32 bits alone: those seeds give the same shuffle and the same crops in every epoch, while initial_seed() shows them as different.
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
import torch

orders, names = set(), set()
for epoch in range(90):
    generator = torch.Generator().manual_seed((epoch << 32) + 7)
    orders.add(tuple(torch.randperm(1_000, generator=generator).tolist()))
    names.add(generator.initial_seed())
torch.manual_seed(1)
draws = torch.rand(3)
torch.manual_seed(1 + 2**63)
same = torch.equal(draws, torch.rand(3))
print(f"torch {torch.__version__}: 90 epochs, the seed (epoch << 32) + 7")
print(f"{len(names)} seeds by initial_seed(), {len(orders)} order of the pictures; seeds 1 and 1 + 2**63 draw alike: {same}")
assert len(names) == 90 and len(orders) == 1 and same
PYTHON_CODE
