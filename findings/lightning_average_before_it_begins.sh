#!/usr/bin/env bash
# One would guess: Lightning's EMAWeightAveraging(update_starting_at_step=1000) validates, stores and ends with the trained weights until the average begins, and with update_starting_at_epoch=2 it begins in the third epoch.
# True:            until step 1000 the first weights are validated and stored in place of the trained ones, and a run that is shorter ends with them: all its training is thrown away. update_starting_at_epoch only adds an update per epoch to those of each step, which begin at once.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet lightning==2.6.6 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import logging
import warnings

import lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.utils.data import DataLoader

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Network(lightning.LightningModule):
    """Its one weight begins with 0 and each step adds 1: after four epochs of ten steps it is 40."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.validated = []

    def training_step(self, batch, index):
        return -self.weight.sum()

    def validation_step(self, batch, index):
        self.validated.append(round(self.weight.item(), 1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def weights(**options):
    """What each epoch validates, what the last checkpoint's state_dict has, and what the run ends with."""
    average = [EMAWeightAveraging(decay=0.9, **options)] if options else []
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_epochs=4, num_sanity_val_steps=0, callbacks=average, **quiet)
    network = Network()
    trainer.fit(network, DataLoader(torch.zeros(10)), DataLoader(torch.zeros(1)))
    stored = torch.load(trainer.checkpoint_callback.best_model_path)["state_dict"]["weight"].item()
    return network.validated, round(stored, 1), round(network.weight.item(), 1)


expected = {
    "no average": ({}, ([10, 20, 30, 40], 40, 40)),
    "each step": ({"update_every_n_steps": 1}, ([4.5, 12.2, 21.4, 31.1], 31.1, 31.1)),
    "from step 20": ({"update_starting_at_step": 20}, ([0, 0, 24.5, 32.2], 32.2, 32.2)),
    "from step 1000": ({"update_starting_at_step": 1000}, ([0, 0, 0, 0], 0, 0)),
    "from epoch 2": ({"update_starting_at_epoch": 2}, ([4.5, 12.2, 21.4, 31.4], 32.3, 32.3)),
}
print(f"lightning {lightning.__version__}, torch {torch.__version__}; a weight that is 10, 20, 30, 40 after its epochs")
for name, (options, wanted) in expected.items():
    validated, stored, last = weights(**options)
    print(f"{name}: validated {validated}, stored {stored}, at the end {last}")
    if (validated, stored, last) != wanted:
        raise SystemExit("it has changed")
PYTHON_CODE
