#!/usr/bin/env bash
# One would guess: with accumulate_grad_batches=4 and five batches, Lightning's last step averages over the one batch that is left.
# True:            it divides by four all the same: each epoch's last step has a quarter of its gradient, and clipping and momentum take it as it is.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet lightning==2.6.6 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import logging
import warnings

import lightning
import torch

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Mean(lightning.LightningModule):
    """Its loss is weight × the batch's mean: on ones, each batch's gradient is 1."""

    def __init__(self):
        super().__init__()
        self.weight, self.gradients = torch.nn.Parameter(torch.zeros(1)), []

    def training_step(self, batch, _):
        return (self.weight * batch[0]).mean()

    def on_before_optimizer_step(self, _):
        self.gradients.append(self.weight.grad.item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


model = Mean()
ones = torch.utils.data.TensorDataset(torch.ones(10))
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
trainer = lightning.Trainer(max_epochs=2, accumulate_grad_batches=4, accelerator="cpu", **quiet)
trainer.fit(model, torch.utils.data.DataLoader(ones, batch_size=2))
print(f"Lightning {lightning.__version__}, five batches with the gradient 1, two epochs: steps with {model.gradients}")
assert model.gradients == [1, 0.25, 1, 0.25]
PYTHON_CODE
