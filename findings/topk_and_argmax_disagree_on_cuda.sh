#!/usr/bin/env bash
# One would guess: logits.topk(5)[:, 0] is argmax, and the five are the CPU's.
# True:            where 16-bit logits tie, neither: top-1 by topk differs from top-1 by argmax, top-5 from the CPU's.
# Needs an NVIDIA GPU. PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.11.0
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import torch

torch.manual_seed(0)
logits = (0.1 * torch.randn(20000, 1000)).bfloat16()
ties = ((logits == logits.amax(-1, keepdim=True)).sum(-1) > 1).sum().item()
here = logits.cuda()
first = (here.topk(5).indices[:, 0] != here.argmax(-1)).sum().item()
in_32_bits = (here.float().topk(5).indices[:, 0] != here.float().argmax(-1)).sum().item()
fives = (here.topk(5).indices.sort().values.cpu() != logits.topk(5).indices.sort().values).any(-1).sum().item()
stable = (here.sort(descending=True, stable=True).indices[:, :5].cpu() != logits.sort(descending=True, stable=True).indices[:, :5]).any().item()
print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}: 20,000 rows of 1000 bf16 logits, {ties} with a tie for the first")
print(f"topk(5)[0] is not argmax: {first} rows; the same values in float32: {in_32_bits}")
print(f"topk(5) names other classes than on the CPU: {fives} rows; a stable sort: {stable}")
assert first > 0 and in_32_bits > 0 and fives > 0 and not stable
PYTHON_CODE
