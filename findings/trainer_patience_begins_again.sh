#!/usr/bin/env bash
# One would guess: a resumed Trainer counts on: with EarlyStoppingCallback(4) it stops in the epoch in which it would have stopped undisturbed.
# True:            the best metric comes back and the count of epochs without a better one does not: stopped after three of them it waits for four more, and a run that is interrupted often enough never stops early; restore_callback_states_from_checkpoint=True brings it back.
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
import logging

import torch
import transformers
from transformers import EarlyStoppingCallback, ResNetConfig, ResNetForImageClassification, Trainer, TrainerCallback, TrainingArguments

logging.disable(logging.WARNING)
transformers.utils.logging.disable_progress_bar()


class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"pixel_values": torch.full((3, 32, 32), float(index)), "labels": index}


class Interruption(TrainerCallback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, args, state, control, **_):
        self.epochs -= 1
        control.should_training_stop |= self.epochs == 0


def ended(folder, interruptions, **settings):
    """The epoch in which a run stops whose accuracy is 0.9 in the second one and 0.1 in all others."""
    for start, epochs in enumerate((*interruptions, 0)):
        model = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], num_labels=4))
        arguments = TrainingArguments(
            folder, use_cpu=True, report_to=[], disable_tqdm=True, num_train_epochs=20, eval_strategy="epoch", save_strategy="epoch",
            save_total_limit=2, load_best_model_at_end=True, metric_for_best_model="accuracy", log_level="error", **settings,
        )  # fmt: skip
        callbacks = [EarlyStoppingCallback(4), Interruption(epochs)]
        trainer = Trainer(model, arguments, train_dataset=Pictures(), eval_dataset=Pictures(), callbacks=callbacks)
        trainer.compute_metrics = lambda _, trainer=trainer: {"accuracy": 0.9 if round(trainer.state.epoch) == 2 else 0.1}
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train(resume_from_checkpoint=start > 0)
    return round(trainer.state.epoch), trainer.state.best_metric


print(f"transformers {transformers.__version__}, EarlyStoppingCallback(4), the second epoch is the best: it ends after")
restored = {"restore_callback_states_from_checkpoint": True}
cases = {
    "undisturbed": ended("a", ()),
    "interrupted after epoch 5": ended("b", (5,)),
    "interrupted after epochs 5, 8 and 11": ended("c", (5, 3, 3)),
    "interrupted after epoch 5, callbacks restored": ended("d", (5,), **restored),
}
for name, (epoch, best) in cases.items():
    print(f"{name}: {epoch} epochs, the best accuracy {best}")
assert [epoch for epoch, _ in cases.values()] == [6, 9, 15, 6] and {best for _, best in cases.values()} == {0.9}
PYTHON_CODE
