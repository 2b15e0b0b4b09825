#!/usr/bin/env bash
# One would guess: cross_entropy of labels is cross_entropy of the same labels as one-hot rows, also with class weights.
# True:            labels are averaged by the sum of their weights, rows by their number: with mixup on, loss and gradient have another size.
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
from torch.nn.functional import cross_entropy, one_hot

torch.manual_seed(0)
labels = torch.tensor([0] * 9 + [1])
weight = torch.tensor([1 / 9, 1.0, 1.0])
found = {}
print(f"torch {torch.__version__}: the same ten labels, the same class weights")
for name, target in {"labels": labels, "one-hot rows": one_hot(labels, 3).float()}.items():
    torch.manual_seed(1)
    logits = torch.randn(10, 3, requires_grad=True)
    loss = cross_entropy(logits, target, weight)
    loss.backward()
    found[name] = loss.item(), logits.grad.norm().item()
    print(f"{name}: loss {found[name][0]:.4f}, norm of the gradient {found[name][1]:.4f}")
ratio = found["labels"][0] / found["one-hot rows"][0]
print(f"ratio {ratio:.3f}; number of rows over sum of their weights {10 / weight[labels].sum().item():.3f}")
assert abs(ratio - 5) < 1e-3
PYTHON_CODE
