#!/usr/bin/env bash
# One would guess: Trainer's eval_loss of a ResNet is the mean over the data set, on two processes as on one; accuracy and predictions are, and the rows that fill up the last batch are taken out of both.
# True:            on two processes it is twice the mean. With accepts_loss_kwargs=False it is not, but in the last round each process's mean is over the rows that fill it up as well: the loss of the last pictures is watered down, a run's best checkpoint is chosen by it, and accuracy shows nothing.
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
import os

os.environ["OMP_NUM_THREADS"] = "1"
import warnings

import accelerate
import torch
import transformers
from torch import nn

PROCESSES = 2


def losses(pictures, **attributes):
    """By a plain loop, and by Trainer, of a network that says class 1: all are of class 1 but for the last."""
    torch.manual_seed(0)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=2)
    model = transformers.ResNetForImageClassification(config).eval()
    nn.init.constant_(model.classifier[1].bias[1], 5.0)
    vars(model).update(attributes)
    rows = [{"pixel_values": torch.randn(3, 8, 8), "labels": int(i < pictures - 1)} for i in range(pictures)]
    with torch.no_grad():
        logits = model(pixel_values=torch.stack([row["pixel_values"] for row in rows])).logits
    labels = torch.tensor([row["labels"] for row in rows])
    quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "log_level": "error"}
    arguments = transformers.TrainingArguments("run", per_device_eval_batch_size=16, **quiet)
    trainer = transformers.Trainer(
        model, arguments, compute_metrics=lambda p: {"right": int((p.predictions.argmax(-1) == p.label_ids).sum())}
    )
    trainer.remove_callback(transformers.PrinterCallback)
    metrics = trainer.evaluate(rows)
    return nn.functional.cross_entropy(logits, labels).item(), metrics["eval_loss"], metrics["eval_right"]


def program():
    main = accelerate.PartialState(cpu=True).is_main_process
    warnings.filterwarnings("error", module="transformers")
    for pictures, attributes in ((64, {}), (64, {"accepts_loss_kwargs": False}), (33, {"accepts_loss_kwargs": False})):
        mean, said, right = losses(pictures, **attributes)
        if main:
            named = f"{pictures} pictures{', accepts_loss_kwargs=False' if attributes else ''}"
            print(f"{named}: mean {mean:.3f}, eval_loss {said:.3f}, {right} right", flush=True)
        factor = said / mean
        assert right == pictures - 1
        assert factor < 0.6 if pictures == 33 else abs(factor - (1 if attributes else PROCESSES)) < 1e-3


print(f"transformers {transformers.__version__}, accelerate {accelerate.__version__}, {PROCESSES} processes", flush=True)
accelerate.debug_launcher(program, num_processes=PROCESSES)
PYTHON_CODE
