#!/usr/bin/env bash
# One would guess: TrainingArguments(dataloader_drop_last=True), set so that BatchNorm never trains on a last batch of one, is for training: evaluate and predict go through all rows.
# True:            they leave out the last batch too: of 100 pictures in batches of 64, 64 are judged and predict returns 64 rows; of a data set smaller than a batch there is no metric at all, and nothing is said.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet transformers==5.24.0 accelerate==1.15.0 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import torch
import transformers
from transformers import PrinterCallback, ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

warnings.filterwarnings("error", module="transformers")
transformers.utils.logging.disable_progress_bar()
config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=2)
model = ResNetForImageClassification(config)
torch.nn.init.constant_(model.classifier[1].bias[1], 1000.0)  # it says 1 to everything


def pictures(number):
    """The first 64 are of class 1, the others of class 0."""
    return [{"pixel_values": torch.randn(3, 16, 16), "labels": int(index < 64)} for index in range(number)]


def accuracy(predictions):
    right = predictions.predictions.argmax(-1) == predictions.label_ids
    return {"accuracy": right.mean().item()}


print(f"transformers {transformers.__version__}, per_device_eval_batch_size=64")
expected = {False: (0.64, 100, 1.0), True: (1.0, 64, None)}
for drop in (False, True):
    quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "log_level": "error"}
    arguments = TrainingArguments("run", per_device_eval_batch_size=64, dataloader_drop_last=drop, **quiet)
    trainer = Trainer(model, arguments, compute_metrics=accuracy)
    trainer.remove_callback(PrinterCallback)
    judged = trainer.evaluate(pictures(100))["eval_accuracy"]
    rows = len(trainer.predict(pictures(100)).predictions)
    small = trainer.evaluate(pictures(50)).get("eval_accuracy")
    print(f"dataloader_drop_last={drop}: accuracy of 100 pictures {judged:.2f}, predictions {rows}; of 50 pictures {small}")
    assert (round(judged, 2), rows, small) == expected[drop]
PYTHON_CODE
