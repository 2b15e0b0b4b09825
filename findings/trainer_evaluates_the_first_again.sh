#!/usr/bin/env bash
# One would guess: trainer.evaluate(test_set) evaluates the test set, whatever was evaluated before it and however the workers are kept.
# True:            with dataloader_persistent_workers=True the first data set that was evaluated is evaluated again, its numbers come as those of the test set, and evaluate({"clean": …, "hard": …}) gives them twice; predict is right.
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
cat >program.py <<'PYTHON_CODE'
import warnings

import torch
import transformers
from transformers import PrinterCallback, ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

warnings.filterwarnings("error", module="transformers")
transformers.utils.logging.disable_progress_bar()
CONFIG = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=2)


def pictures(number, label):
    return [{"pixel_values": torch.randn(3, 16, 16), "labels": label} for _ in range(number)]


def accuracy(predictions):
    right = predictions.predictions.argmax(-1) == predictions.label_ids
    return {"accuracy": right.mean().item(), "pictures": len(right)}


def results(**options):
    """Of a network that says 1 to everything, on 20 pictures of class 1 to validate, and 30 of class 0 to test."""
    model = ResNetForImageClassification(CONFIG)
    torch.nn.init.constant_(model.classifier[1].bias[1], 1000.0)
    quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "log_level": "error"}
    arguments = TrainingArguments("run", dataloader_num_workers=1, **quiet, **options)
    trainer = Trainer(model, arguments, eval_dataset=pictures(20, 1), compute_metrics=accuracy)
    trainer.remove_callback(PrinterCallback)
    test = pictures(30, 0)
    found = {"validation": trainer.evaluate(), "test": trainer.evaluate(test)}
    two = trainer.evaluate({"clean": pictures(20, 1), "hard": test})
    found |= {name: {key.replace(f"_{name}", ""): value for key, value in two.items()} for name in ("clean", "hard")}
    found["predict"] = {key.replace("test_", "eval_"): value for key, value in trainer.predict(test).metrics.items()}
    return {name: (metrics["eval_accuracy"], metrics["eval_pictures"]) for name, metrics in found.items()}


if __name__ == "__main__":
    print(f"transformers {transformers.__version__}: accuracy and number of pictures")
    right = {"validation": (1, 20), "test": (0, 30), "clean": (1, 20), "hard": (0, 30), "predict": (0, 30)}
    for kept in (False, True):
        found = results(dataloader_persistent_workers=kept)
        print(f"dataloader_persistent_workers={kept}: {found}")
        assert found == (right | dict.fromkeys(("test", "clean", "hard"), (1, 20)) if kept else right)
PYTHON_CODE
"$PYTHON" program.py
