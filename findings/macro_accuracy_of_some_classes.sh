#!/usr/bin/env bash
# One would guess: MulticlassAccuracy, the mean over the classes, is scikit-learn's balanced accuracy, also where the labels are 200 of 1000 classes.
# True:            a class that is predicted but has no picture counts as one with accuracy 0: 27 % instead of 72 %.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torchmetrics==1.9.0 scikit-learn==1.9.1 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import sklearn
import torch
import torchmetrics
from sklearn.metrics import balanced_accuracy_score
from torchmetrics.classification import MulticlassAccuracy

generator = torch.Generator().manual_seed(0)
labels = torch.randint(0, 200, (2000,), generator=generator)
right = torch.rand(2000, generator=generator) < 0.7
predicted = torch.where(right, labels, torch.randint(0, 1000, (2000,), generator=generator))
by_default = MulticlassAccuracy(num_classes=1000)(predicted, labels).item()
micro = MulticlassAccuracy(num_classes=1000, average="micro")(predicted, labels).item()
balanced = balanced_accuracy_score(labels, predicted)
print(f"torchmetrics {torchmetrics.__version__}: {by_default:.3f}, average='micro' {micro:.3f}")
print(f"scikit-learn {sklearn.__version__}: balanced accuracy {balanced:.3f}")
assert abs(balanced - micro) < 0.02 and by_default < balanced - 0.3
PYTHON_CODE
