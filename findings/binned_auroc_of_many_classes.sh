#!/usr/bin/env bash
# One would guess: thresholds=200 of torchmetrics' MulticlassAUROC and MulticlassAveragePrecision, which saves memory, gives the exact numbers to a digit or two, of 1000 classes too; classes without a picture are left out of the mean.
# True:            the thresholds are even from 0 to 1, and nearly all probabilities of 1000 classes lie below the first: AUROC is 0.76 instead of 0.87, with 50 thresholds 0.61, and a lower temperature raises it. Of absent classes the exact average precision leaves out and warns, the binned one counts 0 and says nothing.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torchmetrics==1.9.0 scikit-learn==1.9.1 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import numpy as np
import sklearn
import torch
import torchmetrics
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.classification import MulticlassAUROC, MulticlassAveragePrecision

generator = torch.Generator().manual_seed(0)
classes = 1000
labels = torch.arange(1000)
logits = torch.randn(1000, classes, generator=generator)
logits[labels, labels] += 4.5 * torch.rand(1000, generator=generator)
print(f"torchmetrics {torchmetrics.__version__}, scikit-learn {sklearn.__version__}, torch {torch.__version__}: 1000 pictures of 1000 classes")
found = {}
for temperature in (1, 1 / 3):
    probabilities = (logits / temperature).softmax(1)
    one_hot = np.eye(classes, dtype=int)[labels]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is said
        for thresholds in (None, 200, 50) if temperature == 1 else (None, 50):
            auroc = MulticlassAUROC(classes, thresholds=thresholds)(probabilities, labels).item()
            precision = MulticlassAveragePrecision(classes, thresholds=thresholds)(probabilities, labels).item()
            found[temperature, thresholds] = auroc
            print(f"temperature {temperature:.2f}, thresholds={thresholds}: AUROC {auroc:.3f}, average precision {precision:.3f}")
    exact = roc_auc_score(one_hot, probabilities.numpy(), average="macro")
    print(f"  scikit-learn: {exact:.3f}, {average_precision_score(one_hot, probabilities.numpy()):.3f}")
    assert abs(exact - found[temperature, None]) < 1e-3
assert found[1, 200] < found[1, None] - 0.08 and found[1, 50] < 0.65 and found[1 / 3, 50] > found[1, 50] + 0.05
assert abs(found[1 / 3, None] - found[1, None]) < 0.02

# Ten classes, of which five have pictures.
labels = torch.arange(1000) % 5
logits = torch.randn(1000, 10, generator=generator)
logits[torch.arange(1000), labels] += 2
made = {}
for thresholds in (None, 1000):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made[thresholds] = MulticlassAveragePrecision(10, thresholds=thresholds)(logits.softmax(1), labels).item()
    print(f"five of ten classes have pictures, thresholds={thresholds}: average precision {made[thresholds]:.3f}, {len(said)} warnings")
    assert bool(said) == (thresholds is None)
assert abs(made[1000] - made[None] / 2) < 0.02
PYTHON_CODE
