#!/usr/bin/env bash
# One would guess: top-1 and top-5 accuracy in one MetricCollection are what the two metrics give on their own.
# True:            metrics that have counted alike after the first batch share their counts from then on, past reset: if that batch is of an untrained model, with nothing among the five, top-5 is top-1 for good.
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
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

CLASSES = 1000


def metrics():
    return {"top1": MulticlassAccuracy(CLASSES), "top5": MulticlassAccuracy(CLASSES, top_k=5)}


def batches(seed, learnt):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(20):
        labels = torch.randint(0, CLASSES, (32,), generator=generator)
        logits = torch.randn(32, CLASSES, generator=generator)
        logits[torch.arange(32), labels] += learnt
        yield logits, labels


print(f"torchmetrics {torchmetrics.__version__}, MulticlassAccuracy, 20 batches of 32 of {CLASSES} classes")
answers = {}
for case in ("without an untrained epoch before", "after an untrained epoch and reset()"):
    collection, alone = MetricCollection(metrics()), metrics()
    if case.startswith("after"):
        for batch in batches(seed=0, learnt=0):
            collection.update(*batch)
        collection.reset()
    for batch in batches(seed=1, learnt=2.5):
        collection.update(*batch)
        for metric in alone.values():
            metric.update(*batch)
    answers[case] = {name: round(float(value), 3) for name, value in collection.compute().items()}
    print(f"{case}: {answers[case]}, groups {collection.compute_groups}")
expected = {name: round(float(metric.compute()), 3) for name, metric in alone.items()}
print(f"each on its own: {expected}")
before, after = answers.values()
assert before == expected
assert after["top1"] == expected["top1"] and after["top5"] < 0.7 * expected["top5"]
PYTHON_CODE
