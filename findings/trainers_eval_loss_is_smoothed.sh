#!/usr/bin/env bash
# One would guess: Trainer's eval_loss is the cross-entropy; label_smoothing_factor is for training.
# True:            it is smoothed as well: runs with another smoothing cannot be compared by it, and the best checkpoint is chosen by it.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet transformers==5.24.0 accelerate==1.15.0 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import torch
import transformers
from torch.nn.functional import cross_entropy
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

torch.manual_seed(0)
config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=4)
model = ResNetForImageClassification(config).eval()
with torch.no_grad():
    model.classifier[1].weight.mul_(20)
images = torch.randn(8, 3, 32, 32)
with torch.no_grad():
    logits = model(images).logits
labels = logits.argmax(-1)  # all right, so that smoothing costs something
rows = [{"pixel_values": image, "labels": label} for image, label in zip(images, labels)]
reported = {}
for smoothing in (0.0, 0.3):
    arguments = TrainingArguments(
        "run", label_smoothing_factor=smoothing, use_cpu=True, report_to=[], disable_tqdm=True
    )
    reported[smoothing] = Trainer(model, arguments, eval_dataset=rows).evaluate()["eval_loss"]
plain, smoothed = cross_entropy(logits, labels).item(), cross_entropy(logits, labels, label_smoothing=0.3).item()
print(f"transformers {transformers.__version__}: eval_loss {reported[0.0]:.4f}, with label smoothing 0.3 {reported[0.3]:.4f}")
print(f"by hand: cross-entropy {plain:.4f}, smoothed {smoothed:.4f}")
assert abs(reported[0.0] - plain) < 1e-3 and abs(reported[0.3] - smoothed) < 1e-3 < smoothed - plain
PYTHON_CODE
