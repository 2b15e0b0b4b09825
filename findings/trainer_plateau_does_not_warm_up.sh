#!/usr/bin/env bash
# One would guess: TrainingArguments(lr_scheduler_type="reduce_lr_on_plateau", warmup_steps=500) warms up, as linear, cosine, polynomial and inverse_sqrt do, or says that it cannot.
# True:            warmup_steps is passed over, as it is with "greedy" and "constant": the first step, of random weights, has the full learning rate, and nothing tells. It is the name of "constant_with_warmup" alone that hints at it; the plateau has none such.
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
"$PYTHON" -W error::UserWarning:transformers - <<'PYTHON_CODE'
import logging

import torch
import transformers
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

said = []
handler = logging.Handler(logging.INFO)
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("transformers").addHandler(handler)
transformers.utils.logging.disable_progress_bar()


class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"pixel_values": torch.full((3, 32, 32), float(index)), "labels": index % 4}


def rates(schedule, warmup):
    model = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], num_labels=4))
    arguments = TrainingArguments(
        "run", use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no", eval_strategy="epoch", logging_steps=1, num_train_epochs=2,
        per_device_train_batch_size=2, learning_rate=0.1, lr_scheduler_type=schedule, warmup_steps=warmup,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=Pictures(), eval_dataset=Pictures())
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return [round(line["learning_rate"], 3) for line in trainer.state.log_history if "learning_rate" in line]


print(f"transformers {transformers.__version__}: the rates of eight steps, learning_rate=0.1")
for warmup in (4, 0.5):
    for schedule in ("linear", "cosine", "constant_with_warmup", "inverse_sqrt", "greedy", "reduce_lr_on_plateau"):
        seen = rates(schedule, warmup)
        print(f"{schedule}, warmup_steps={warmup}: {seen}")
        assert seen[:4] == ([0.1] * 4 if schedule in ("greedy", "reduce_lr_on_plateau") else [0, 0.025, 0.05, 0.075])
assert not any("warmup" in line for line in said), said
PYTHON_CODE
