#!/usr/bin/env bash
# One would guess: Trainer(optim="schedule_free_sgd") saves the weights that evaluate() judges, the average: it tells the optimizer when it trains and when it evaluates, which is all that the method asks for.
# True:            it tells it before evaluations and steps, not before it saves: a checkpoint that no evaluation precedes, and save_model() after train(), hold the point at which gradients are taken; opened again, the network is another one than evaluate() judged in memory. The logits differ, and nothing tells.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet transformers==5.24.0 accelerate==1.15.0 schedulefree==1.4.1 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import logging
from importlib.metadata import version

import torch
import transformers
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

logging.disable(logging.WARNING)
transformers.utils.logging.disable_progress_bar()


class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        noise = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(index))
        return {"pixel_values": noise + index % 4 / 10, "labels": index % 4}


def trainer_of(model, **settings):
    quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "logging_strategy": "no"}
    trainer = Trainer(model, TrainingArguments("run", **quiet, **settings), train_dataset=Pictures(), eval_dataset=Pictures())
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def trained(optimizer, evaluated):
    transformers.set_seed(0)
    model = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], num_labels=4))
    trainer = trainer_of(
        model, optim=optimizer, learning_rate=0.05, lr_scheduler_type="constant", num_train_epochs=5,
        per_device_train_batch_size=8, save_strategy="epoch", eval_strategy=evaluated,
    )  # fmt: skip
    trainer.train()
    trainer.save_model("saved")
    losses = [trainer.evaluate()["eval_loss"]]
    for folder in ("saved", "run/checkpoint-40"):
        losses.append(trainer_of(ResNetForImageClassification.from_pretrained(folder)).evaluate()["eval_loss"])
    return losses


print(f"transformers {transformers.__version__}, schedulefree {version('schedulefree')}: eval_loss")
for optimizer in ("sgd", "schedule_free_sgd", "schedule_free_adamw"):
    for evaluated in ("no", "epoch"):
        memory, saved, checkpoint = trained(optimizer, evaluated)
        print(f"{optimizer}, eval_strategy={evaluated}: in memory {memory:.4f}, saved {saved:.4f}, checkpoint {checkpoint:.4f}")
        same = optimizer == "sgd" or evaluated == "epoch"
        assert all((abs(memory - loss) < 1e-4) == same for loss in (saved, checkpoint))
        assert abs(saved - checkpoint) < 1e-4
PYTHON_CODE
