#!/usr/bin/env bash
# One would guess: torchmetrics' calibration error takes logits, and puts them through softmax, batch for batch alike.
# True:            a batch whose logits happen to lie in 0…1 is taken for probabilities: the same model, another error, by how it is cut into batches.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torchmetrics==1.9.0 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import torch
import torchmetrics
from torchmetrics.classification import MulticlassCalibrationError

torch.manual_seed(0)
# An untrained classifier's logits beside a trained one's.
small, large = torch.rand(64, 10), 5 * torch.randn(64, 10)
labels = torch.randint(0, 10, (128,))


def error(*batches):
    metric = MulticlassCalibrationError(num_classes=10)
    for logits, places in batches:
        metric.update(logits, labels[places])
    return metric.compute().item()


probabilities = error((small.softmax(-1), slice(0, 64)))
logits = error((small, slice(0, 64)))
together = error((torch.cat([small, large]), slice(0, 128)))
apart = error((small, slice(0, 64)), (large, slice(64, 128)))
print(f"torchmetrics {torchmetrics.__version__}: small logits {logits:.3f}, the same through softmax {probabilities:.3f}")
print(f"small and large in one batch {together:.3f}, in two {apart:.3f}")
assert logits > 5 * probabilities and apart > together + 0.2
PYTHON_CODE
