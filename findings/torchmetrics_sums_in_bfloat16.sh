#!/usr/bin/env bash
# One would guess: a torchmetrics metric within a model keeps float32 whatever the model is cast to, as it does under model.bfloat16() and half(), and as its documentation says: only set_dtype changes it.
# True:            under model.to(torch.bfloat16), and so under Lightning's precision="bf16-true", its sums become bfloat16 and stop growing: a count of 1000 stops at 256, and the mean of the validation's loss is 4.0 instead of 2.75; in float16 it is infinite.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torchmetrics==1.9.0 lightning==2.6.6 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import logging
import warnings

import lightning
import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("error", module="torchmetrics")
LOSSES = torch.cat([torch.linspace(0, 1, 250), torch.linspace(3, 4, 750)]).bfloat16().float()  # of batches of 64


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.loss, self.batches = nn.Linear(8, 8), torchmetrics.MeanMetric(), torchmetrics.SumMetric()

    def validation_step(self, batch, _):
        self.loss.update(batch[0], weight=64)
        self.batches.update(1)

    def on_validation_epoch_end(self):
        self.seen = self.loss.compute().item(), self.batches.compute().item()


def by_hand(model):
    for loss in LOSSES:
        model.validation_step([loss], 0)
    model.on_validation_epoch_end()
    return model.seen


def by_lightning(precision):
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    model = Classifier()
    trainer = lightning.Trainer(accelerator="cpu", precision=precision, **quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the loader's workers
        trainer.validate(model, DataLoader(TensorDataset(LOSSES), 1), verbose=False)
    return model.seen


print(f"torch {torch.__version__}, torchmetrics {torchmetrics.__version__}, lightning {lightning.__version__}")
cases = {
    "model.bfloat16()": by_hand(Classifier().bfloat16()),
    "model.to(torch.bfloat16)": by_hand(Classifier().to(torch.bfloat16)),
    "model.half()": by_hand(Classifier().half()),
    "model.to(torch.float16)": by_hand(Classifier().to(torch.float16)),
    'Lightning, "bf16-mixed"': by_lightning("bf16-mixed"),
    'Lightning, "bf16-true"': by_lightning("bf16-true"),
}
for name, (mean, batches) in cases.items():
    print(f"{name}: {batches:.0f} batches of {len(LOSSES)}, mean loss {mean:.2f} of {LOSSES.mean():.2f}")
for name in ("model.bfloat16()", "model.half()", 'Lightning, "bf16-mixed"'):
    assert cases[name][1] == 1000 and abs(cases[name][0] - LOSSES.mean().item()) < 0.01
for name in ("model.to(torch.bfloat16)", 'Lightning, "bf16-true"'):
    assert cases[name] == (4.0, 256.0)
assert cases["model.to(torch.float16)"][0] == float("inf")
PYTHON_CODE
