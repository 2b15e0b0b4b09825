#!/usr/bin/env bash
# One would guess: on several processes Trainer draws other augmentations in each, with or without workers of the loader: its seed_worker counts the rank in.
# True:            without workers, which is its default, all processes have one seed and draw the same: picture 1 of the first process has the crop and flip of picture 1 of the second, in every step. With workers each draws its own.
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
import json
import logging
import os
import random
import warnings
from pathlib import Path

import accelerate
import numpy as np
import torch
import transformers
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

logging.disable(logging.WARNING)
warnings.simplefilter("ignore", UserWarning)  # about the number of threads
transformers.utils.logging.disable_progress_bar()


class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 32

    def __getitem__(self, index):
        draws = torch.randint(2**31, ()).item(), random.randrange(2**31), int(np.random.randint(2**31))
        with Path(os.environ["DRAWS"]).open("a") as file:
            file.write(json.dumps(draws) + "\n")
        return {"pixel_values": torch.zeros(3, 32, 32), "labels": index % 4}


def program():
    model = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], num_labels=4))
    trainer = Trainer(
        model,
        TrainingArguments(
            "run", use_cpu=True, report_to=[], disable_tqdm=True, logging_strategy="no", save_strategy="no", num_train_epochs=3,
            per_device_train_batch_size=4, dataloader_num_workers=int(os.environ["WORKERS"]), ddp_find_unused_parameters=False,
        ),
        train_dataset=Pictures(),
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()


print(f"transformers {transformers.__version__}, two processes, 3 epochs of 32 pictures", flush=True)
for workers, expected in ((0, 48), (2, 96)):
    os.environ |= {"WORKERS": str(workers), "DRAWS": f"draws-{workers}"}
    accelerate.debug_launcher(program, num_processes=2)
    draws = [json.loads(line) for line in Path(os.environ["DRAWS"]).read_text().splitlines()]
    different = [len(set(kind)) for kind in zip(*draws, strict=True)]
    print(f"{workers} workers: {len(draws)} pictures, different draws of torch, random and NumPy: {different}", flush=True)
    assert len(draws) == 96 and different == [expected] * 3
PYTHON_CODE
