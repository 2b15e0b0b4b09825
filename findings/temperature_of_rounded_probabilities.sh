#!/usr/bin/env bash
# One would guess: scikit-learn's CalibratedClassifierCV(method="temperature") finds nearly the same temperature for a network's probabilities in float16, or rounded to three digits as in a file, as for the exact ones.
# True:            whether it has probabilities or logits it guesses, by whether each row sums to 1 within 1e-8: if one row of float16 does not, all are taken for logits. For an overconfident network whose temperature is 2.7 it finds 0.3, with twice the calibration error; nothing warns. Divide by the sums first, in float32.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W error - <<'PYTHON_CODE'
import numpy as np
import sklearn
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

rng = np.random.default_rng(0)
classes, pictures = 10, 2000
labels = rng.integers(0, classes, pictures)
logits = rng.normal(size=(pictures, classes))
logits[np.arange(pictures), labels] += 1.5
logits *= 4  # four times as sure as it should be


def softmax(values):
    shifted = np.exp(values - values.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def cross_entropy(probabilities):
    return -np.log(probabilities[np.arange(pictures), labels]).mean()


def calibration_error(probabilities):
    """Over 15 bins of confidence."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.minimum((confidence * 15).astype(int), 14)
    return sum(abs((confidence - right)[bins == i].sum()) for i in range(15)) / pictures


class Network(ClassifierMixin, BaseEstimator):
    """What a network has answered: probabilities as they are kept."""

    def __init__(self, kept=None):
        self.kept = kept
        self.classes_ = np.arange(classes)

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, values, labels):
        return self

    def predict_proba(self, values):
        return self.kept(softmax(values))

    def predict(self, values):
        return values.argmax(1)


kept = {
    "float64": lambda p: p, "float32": lambda p: p.astype(np.float32), "float16": lambda p: p.astype(np.float16), "rounded to three digits": lambda p: p.round(3),
    "float16, made float32 and to sum to 1": lambda p: (h := p.astype(np.float16).astype(np.float32)) / h.sum(1, keepdims=True),
}  # fmt: skip
exact = minimize_scalar(lambda t: cross_entropy(softmax(logits / t)), bounds=(0.1, 20), method="bounded")
print(f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}: before, cross-entropy {cross_entropy(softmax(logits)):.3f}, calibration error {calibration_error(softmax(logits)):.1%}")
print(f"by hand: temperature {exact.x:.2f}, cross-entropy {exact.fun:.3f}, calibration error {calibration_error(softmax(logits / exact.x)):.1%}")
for name, keep in kept.items():
    calibrated = CalibratedClassifierCV(FrozenEstimator(Network(keep)), method="temperature").fit(logits, labels)
    temperature = 1 / calibrated.calibrated_classifiers_[0].calibrators[0].beta_
    found = np.asarray(calibrated.predict_proba(logits), dtype=np.float64)
    print(f"{name}: temperature {temperature:.2f}, cross-entropy {cross_entropy(found):.3f}, calibration error {calibration_error(found):.1%}")
    if name in ("float16", "rounded to three digits"):
        assert temperature < 0.5 and cross_entropy(found) > exact.fun + 0.1
    else:
        assert abs(temperature / exact.x - 1) < 0.15 and cross_entropy(found) < exact.fun + 0.02
PYTHON_CODE
