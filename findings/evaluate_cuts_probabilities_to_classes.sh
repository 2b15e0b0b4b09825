#!/usr/bin/env bash
# One would guess: evaluate's accuracy refuses probabilities where it wants classes, as scikit-learn does that it calls, or rounds them.
# True:            they are cut off to whole numbers first: all below 1 are class 0, 0.99 as well as 0.01, and the accuracy is the share of class 0; words such as "1" become numbers too. Rows of an add_batch that was never computed are counted with the next ones.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet evaluate==0.4.6 datasets==5.2.0 scikit-learn==1.9.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
# As the Hub's accuracy is written, which cannot be fetched without a network.
with open("accuracy.py", "w", encoding="utf-8") as file:
    file.write("""
import datasets
import evaluate
from sklearn.metrics import accuracy_score

class Accuracy(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"accuracy": float(accuracy_score(references, predictions))}
""")
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score

rng = np.random.default_rng(0)
labels = (rng.random(1000) < 0.7).astype(int)
probabilities = np.where(labels == 1, 0.99, 0.01)  # sure, and always right
given = {"classes": probabilities.round().astype(int), "probabilities": probabilities, "words": [str(label) for label in labels]}
print(f"evaluate {evaluate.__version__}: a classifier that is always right, 70 % of class 1")
seen = {}
with warnings.catch_warnings():
    warnings.simplefilter("error")
    for name, predictions in given.items():
        accuracy = evaluate.load("./accuracy.py")
        accuracy.add_batch(predictions=predictions, references=labels)
        seen[name] = accuracy.compute()["accuracy"]
        print(f"{name}: accuracy {seen[name]:.3f}")
    accuracy.add_batch(predictions=[0] * 1000, references=[1] * 1000)  # an evaluation that is broken off
    seen["left over"] = accuracy.compute(predictions=given["classes"], references=labels)["accuracy"]
    print(f"classes, after a batch of another evaluation: {seen['left over']:.3f}")
try:
    accuracy_score(labels, probabilities)
except ValueError as error:
    print(f"scikit-learn of the probabilities: {error}")
else:
    raise SystemExit("scikit-learn takes them")
assert seen == {"classes": 1.0, "probabilities": float((labels == 0).mean()), "words": 1.0, "left over": 0.5}
PYTHON_CODE
