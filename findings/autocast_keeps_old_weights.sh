#!/usr/bin/env bash
# One would guess: autocast casts weights where they are used, so a training loop, or a change to averaged weights, inside one autocast block works as outside.
# True:            cast weights are kept until the block ends and not looked at again: each step's gradient is taken at the first step's weights, the loss never falls; with cache_enabled=False it does.
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


def losses(cache):
    torch.manual_seed(0)
    network = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    pixels, wanted, found = torch.randn(64, 8), torch.randn(64, 1), []
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=cache):
        for _ in range(5):
            loss = (network(pixels).float() - wanted).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(round(loss.item(), 4))
    return found


print(f"torch {torch.__version__}: five steps inside one autocast block")
kept, looked_at = losses(True), losses(False)
print(f"as it is: {kept}\ncache_enabled=False: {looked_at}")
network, pixels = torch.nn.Linear(4, 4), torch.ones(1, 4)
with torch.autocast("cpu", torch.bfloat16):
    before = network(pixels)
    with torch.no_grad():
        network.weight.copy_(network.weight * 3)  # as averaged weights are put in
    same = torch.equal(before, network(pixels))
print(f"weights three times as large, the same output: {same}")
assert len(set(kept)) == 1 and looked_at == sorted(looked_at, reverse=True) and len(set(looked_at)) == 5 and same
PYTHON_CODE
