#!/usr/bin/env bash
# One would guess: scikit-learn's log_loss of probabilities in float16, as a model in half precision gives them, is the cross-entropy to three digits.
# True:            they are cut off at the smallest step of their type, 0.00098 in float16: no picture costs more than 6.93, which is a guess among 1000 classes; 3.6 instead of 5.2. In float32 it ends at 15.9.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import numpy as np
import sklearn
from sklearn.metrics import log_loss

warnings.simplefilter("error")
rng = np.random.default_rng(0)
labels = rng.integers(0, 1000, 4000)
logits = rng.normal(scale=2.5, size=(4000, 1000))
logits[np.arange(2000), labels[:2000]] += 12  # half of the pictures are known
log_sums = np.log(np.exp(logits).sum(1, keepdims=True))
probabilities = np.exp(logits - log_sums)
right = np.mean(log_sums[:, 0] - logits[np.arange(4000), labels])
print(f"scikit-learn {sklearn.__version__}, 4000 pictures of 1000 classes: cross-entropy by hand {right:.4f}")
for dtype in (np.float64, np.float32, np.float16):
    loss = log_loss(labels, probabilities.astype(dtype), labels=range(1000))
    print(f"{dtype.__name__}: log_loss {loss:.4f}")
    assert loss < 0.75 * right if dtype is np.float16 else abs(loss - right) < 0.01
# What float16 keeps is enough: read as float64, the same numbers give the loss, but for those that are 0 in it.
kept = probabilities.astype(np.float16)[np.arange(4000), labels].astype(np.float64)
by_hand = -np.log(kept[kept > 0]).mean()
print(f"the same float16 numbers by hand, of the {np.mean(kept > 0):.1%} that are not 0: {by_hand:.4f}")
assert abs(by_hand - right) < 0.2 and np.mean(kept > 0) > 0.97
PYTHON_CODE
