#!/usr/bin/env bash
# One would guess: layers that are frozen when accelerate or Lightning wraps the model for several processes, and unfrozen some epochs later, are then trained on the gradients of all, or there is an error.
# True:            DistributedDataParallel never exchanges their gradients: each process trains them on its own pictures, their weights drift apart without a word, and the first one's are saved. Lightning's own BackboneFinetuning does so.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet accelerate==1.15.0 lightning==2.6.6 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import logging
import warnings

import accelerate
import lightning
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn

logging.disable(logging.INFO)
warnings.simplefilter("ignore")


class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone, self.head = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2)

    def forward(self, seed):
        generator = torch.Generator().manual_seed(seed)  # each process has its own pictures
        logits = self.head(self.backbone(torch.randn(8, 4, generator=generator)))
        return nn.functional.cross_entropy(logits, torch.randint(2, (8,), generator=generator))

    def training_step(self, _, index):
        return self(1000 * self.global_step + self.global_rank)

    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)

    def on_train_end(self):
        compare("Lightning, BackboneFinetuning", self, self.all_gather, self.global_rank, True)


def compare(name, net, gather, process, drift):
    both = [gather(layer.weight.detach()).view(2, -1) for layer in (net.backbone[0], net.head)]
    body, head = ((first - second).abs().max().item() for first, second in both)
    if process == 0:
        print(f"{name}: body {body:.4f} apart, head {head:.4f}", flush=True)
    assert head < 1e-6 and (body > 0.005 if drift else body < 1e-6)


def program():
    accelerator = accelerate.Accelerator(cpu=True)
    for frozen in (False, True):
        net = Net()
        net.backbone.requires_grad_(not frozen)
        model, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.1))
        for step in range(40):
            net.backbone.requires_grad_(step >= 20 or not frozen)  # the head alone, then all
            accelerator.backward(model(1000 * step + accelerator.process_index))
            optimizer.step()
            optimizer.zero_grad()
        name = f"accelerate, {'unfrozen after half of it' if frozen else 'never frozen'}"
        compare(name, net, accelerator.gather, accelerator.process_index, frozen)


print(f"accelerate {accelerate.__version__}, Lightning {lightning.__version__}: weights of two processes", flush=True)
accelerate.debug_launcher(program, num_processes=2)
callback = BackboneFinetuning(unfreeze_backbone_at_epoch=1, backbone_initial_lr=0.1, lambda_func=lambda epoch: 1.0)
quiet = {f"enable_{what}": False for what in ("progress_bar", "model_summary", "checkpointing")} | {"logger": False}
trainer = lightning.Trainer(accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=3, callbacks=[callback], **quiet)
trainer.fit(Net(), torch.utils.data.DataLoader(torch.zeros(80, 1), 4))
PYTHON_CODE
