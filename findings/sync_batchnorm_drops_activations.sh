#!/usr/bin/env bash
# One would guess: SyncBatchNorm.convert_sync_batchnorm changes how statistics are gathered, or leaves alone what it does not know; in evaluation the logits stay.
# True:            timm's BatchNormAct2d, which is a BatchNorm with its activation, becomes a SyncBatchNorm without one: resnetv2_50 is then a linear network, EfficientNets and RegNets lose half or more; Lightning's sync_batchnorm=True does the same, timm's own function keeps them.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet timm==1.0.31 torch==2.14.1 torchvision==0.29.1 lightning==2.6.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import copy
import warnings

import timm
import torch
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from timm.layers import convert_sync_batchnorm
from torch import nn

warnings.filterwarnings("error", category=UserWarning)
torch.manual_seed(0)
images = torch.randn(2, 3, 64, 64)
converters = {
    "PyTorch": nn.SyncBatchNorm.convert_sync_batchnorm,
    "Lightning": TorchSyncBatchNorm().apply,
    "timm": convert_sync_batchnorm,
}


def run(model):
    """The logits, and how many activations were computed for them."""
    calls = []
    for module in model.modules():
        if isinstance(module, (nn.ReLU, nn.SiLU)):
            module.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        return model.eval()(images), len(calls)


print(f"timm {timm.__version__}, torch {torch.__version__}: activations that are computed, and how far logits move in evaluation")
for architecture in ("resnet50", "resnetv2_50", "regnety_004", "efficientnet_b0"):
    model = timm.create_model(architecture)
    before, activations = run(copy.deepcopy(model))
    for name, convert in converters.items():
        after, left = run(convert(copy.deepcopy(model)))
        apart = ((after - before).abs().max() / before.std()).item()
        print(f"{architecture} by {name}: {activations}, then {left}; {apart:.2g} standard deviations")
        if architecture == "resnet50" or name == "timm":
            assert apart < 1e-3 and left == activations
        else:
            assert apart > 0.5 and left < activations / 2
PYTHON_CODE
