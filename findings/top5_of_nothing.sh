#!/usr/bin/env bash
# One would guess: a model whose logits are all NaN, or all alike, has a top-5 accuracy of 5 in 1000, or an error.
# True:            torcheval counts it 100 % right for k > 1 (no logit is greater than the right one's), and 0.1 % for k = 1. torchmetrics: 0.5 %.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torcheval==0.0.7 torchmetrics==1.9.0 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
from importlib.metadata import version

import torch
import torchmetrics
from torcheval.metrics.functional import multiclass_accuracy

labels = torch.arange(1000)
print(f"torcheval {version('torcheval')}, torchmetrics {torchmetrics.__version__}, torch {torch.__version__}")
for name, value in (("NaN", float("nan")), ("alike", 0.0)):
    logits = torch.full((1000, 1000), value)
    by_torcheval = [multiclass_accuracy(logits, labels, k=k).item() for k in (1, 5)]
    other = torchmetrics.functional.accuracy(logits, labels, task="multiclass", num_classes=1000, top_k=5).item()
    print(f"logits {name}: torcheval top-1 {by_torcheval[0]:.3f}, top-5 {by_torcheval[1]:.3f}; torchmetrics top-5 {other:.3f}")
    assert by_torcheval[1] == 1 and by_torcheval[0] < 0.002 and other < 0.01
PYTHON_CODE
