#!/usr/bin/env bash
# One would guess: train(resume_from_checkpoint=True) with another learning_rate or weight_decay takes them, or warns as it does of other settings that differ from the checkpoint's.
# True:            the optimizer's state brings the old ones back, and nothing tells; num_train_epochs and lr_scheduler_type are taken. Of logging_steps, which changes nothing, it warns.
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
import io
import logging
import warnings

import torch
import transformers
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

warnings.filterwarnings("error", module="transformers.trainer")
log = io.StringIO()
logging.getLogger("transformers").addHandler(logging.StreamHandler(log))
transformers.utils.logging.disable_progress_bar()


class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"pixel_values": torch.full((3, 32, 32), float(index)), "labels": index % 4}


def trained(resume, **settings):
    model = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], num_labels=4))
    arguments = TrainingArguments(
        "run", use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="epoch", per_device_train_batch_size=4, optim="sgd",
        lr_scheduler_type="constant", **settings,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=Pictures())
    trainer.train(resume_from_checkpoint=resume)
    decayed = trainer.optimizer.param_groups[0]
    return trainer.state.global_step, decayed["lr"], decayed["weight_decay"]


trained(None, learning_rate=0.1, weight_decay=1e-4, num_train_epochs=1)
log.truncate(0)
steps, rate, decay = trained(True, learning_rate=0.001, weight_decay=0.05, num_train_epochs=3)
print(f"transformers {transformers.__version__}: a run of learning_rate=0.1, weight_decay=0.0001, one epoch")
print(f"resumed with 0.001, 0.05, three epochs: {rate}, {decay}, {steps // 2} epochs; its log says: {log.getvalue().strip() or 'nothing'}")
assert (rate, decay, steps) == (0.1, 1e-4, 6) and "learning_rate" not in log.getvalue()
trained(True, learning_rate=0.001, num_train_epochs=4, logging_steps=1)
print(f"and with another logging_steps: {' '.join(log.getvalue().split())}")
assert "logging_steps" in log.getvalue() and "learning_rate" not in log.getvalue()
PYTHON_CODE
