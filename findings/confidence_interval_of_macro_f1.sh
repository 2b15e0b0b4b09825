#!/usr/bin/env bash
# One would guess: confidenceinterval's f1_score(average="macro"), with its default method, gives a 95 % interval that holds the true value in 95 of 100 test sets.
# True:            its covariance is an element-wise product in place of an outer one: the interval of two classes is twice as wide as the scatter, that of 100 classes a quarter of it, so that it holds the true value in some 35 of 100 test sets, without a word; method="bootstrap_percentile" and the micro average are right.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet confidenceinterval==1.0.5 scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings
from importlib.metadata import version

import confidenceinterval
import numpy as np
from sklearn.metrics import f1_score

rng = np.random.default_rng(0)
pictures = 2000


def test_set(classes, pictures):
    """Labels, and predictions of which 70 % are right and the others drawn at random."""
    labels = rng.integers(0, classes, pictures)
    return labels, np.where(rng.random(pictures) < 0.7, labels, rng.integers(0, classes, pictures))


def interval(labels, predicted, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is said
        return confidenceinterval.f1_score(labels, predicted, confidence_level=0.95, **options)


print(f"confidenceinterval {version('confidenceinterval')}, scikit-learn {version('scikit-learn')}: 150 test sets of {pictures} pictures, F1 with an interval of 95 %")
for average in ("macro", "micro"):
    for classes in (2, 10, 100):
        # As all classes are equally frequent and equally confused, precision, recall and F1 of each class are this number.
        true = 0.7 + 0.3 / classes
        values, widths, held = [], [], 0
        for _ in range(150):
            labels, predicted = test_set(classes, pictures)
            value, (low, high) = interval(labels, predicted, average=average)
            assert abs(value - f1_score(labels, predicted, average=average)) < 1e-3
            values.append(value)
            widths.append((high - low) / 2)
            held += low <= true <= high
        ratio = np.mean(widths) / (1.96 * np.std(values))
        print(f"{average}, {classes} classes: ± {np.mean(widths):.4f}, {ratio:.2f} times 1.96 standard deviations of the values; {held / 150:.0%} of the intervals hold {true:.3f}")
        if average == "micro" or classes == 10:
            assert 0.7 < ratio < 1.3
        else:
            assert ratio > 1.8 and held == 150 if classes == 2 else ratio < 0.35 and held < 90

labels, predicted = test_set(100, pictures)
for options in ({}, {"method": "bootstrap_percentile", "n_resamples": 300, "random_state": 0}):
    value, (low, high) = interval(labels, predicted, average="macro", **options)
    print(f"one test set of 100 classes, {options.get('method', 'by default')}: {low:.3f} to {high:.3f}")
    assert (high - low > 0.03) == bool(options)
PYTHON_CODE
