#!/usr/bin/env bash
# One would guess: a Trainer that has done three of six epochs and is resumed with another gradient_accumulation_steps or number of processes does three more, or warns as it does of another batch size.
# True:            where it is, it works out from the number of steps as if all had been of the new size: with twice the accumulation, or on two processes instead of one, it is over at once, half trained and at half of the learning rate; with half of it, one and a half epochs are done again.
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

import accelerate
import torch
import transformers
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainerCallback, TrainingArguments

log = io.StringIO()
logging.getLogger("transformers").addHandler(logging.StreamHandler(log))
transformers.utils.logging.disable_progress_bar()


class Pictures(torch.utils.data.Dataset):
    read = 0

    def __len__(self):
        return 80

    def __getitem__(self, index):
        Pictures.read += 1
        return {"pixel_values": torch.full((3, 32, 32), float(index)), "labels": index % 4}


class Interruption(TrainerCallback):
    def on_epoch_end(self, args, state, control, **_):
        control.should_training_stop |= round(state.epoch) == 3


def trained(folder, accumulation, resume):
    """How many pictures were read, and the learning rate at the end."""
    model = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], num_labels=4))
    arguments = TrainingArguments(
        folder, use_cpu=True, report_to=[], disable_tqdm=True, num_train_epochs=6, save_strategy="epoch", learning_rate=0.1,
        per_device_train_batch_size=4, gradient_accumulation_steps=accumulation,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=Pictures(), callbacks=[] if resume else [Interruption()])
    trainer.remove_callback(transformers.PrinterCallback)
    Pictures.read = 0
    log.truncate(0)
    trainer.train(resume_from_checkpoint=resume)
    return Pictures.read, trainer.lr_scheduler.get_last_lr()[0]


def on(processes, resume, wanted):
    pictures, rate = trained("run_processes", 2, resume)
    print(f"{processes} processes: each reads {pictures} pictures; the last learning rate {rate:.3f}", flush=True)
    assert pictures == wanted and abs(rate - 0.05) < 1e-6


print(f"transformers {transformers.__version__}: 80 pictures, six epochs; after three of them it is resumed", flush=True)
accelerate.debug_launcher(on, args=(1, False, 240), num_processes=1)
accelerate.debug_launcher(on, args=(2, True, 0), num_processes=2)
for before, after, wanted in ((2, 2, 240), (2, 4, 0), (4, 2, 360)):
    first, _ = trained(f"run_{before}_{after}", before, False)
    then, rate = trained(f"run_{before}_{after}", after, True)
    print(f"accumulation {before}, then {after}: {first} pictures, then {then}; the last learning rate {rate:.3f}; warnings: {log.getvalue().strip() or 'none'}")
    assert (first, then) == (240, wanted) and abs(rate - (0.05 if then == 0 else 0)) < 1e-6 and "accumulation" not in log.getvalue()
PYTHON_CODE
