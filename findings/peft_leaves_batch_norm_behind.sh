#!/usr/bin/env bash
# One would guess: a LoRA adapter, saved and put on its base model again, answers as it did when training ended.
# True:            training also moves BatchNorm's running statistics, which are buffers and not saved with the adapter: the answers are others, and nothing is said. Merged into the model, or with the BatchNorms in modules_to_save, they are the same.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet peft==0.21.2 torch==2.15.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import copy
import warnings

import peft
import torch
from torch import nn

warnings.simplefilter("ignore")
torch.manual_seed(0)
base = nn.Sequential()
base.add_module("conv", nn.Conv2d(3, 8, 3))
base.add_module("bn", nn.BatchNorm2d(8))
base.add_module("pool", nn.AdaptiveAvgPool2d(1))
base.add_module("flat", nn.Flatten())
base.add_module("fc", nn.Linear(8, 5))
images, photos = 3 * torch.randn(16, 3, 16, 16) + 1, torch.randn(4, 3, 16, 16)


def far_apart(modules_to_save, folder):
    config = peft.LoraConfig(target_modules=["conv"], modules_to_save=modules_to_save, r=2)
    tuned = peft.get_peft_model(copy.deepcopy(base), config).train()
    optimizer = torch.optim.SGD([p for p in tuned.parameters() if p.requires_grad], 0.01)
    for _ in range(10):
        nn.functional.cross_entropy(tuned(images), torch.arange(16) % 5).backward()
        optimizer.step()
        optimizer.zero_grad()
    tuned.eval().save_pretrained(folder)
    opened = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()
    with torch.no_grad():
        return (tuned(photos) - opened(photos)).abs().max().item()


print(f"peft {peft.__version__}: logits of a LoRA adapter, and of the same one saved and opened")
lost, kept = far_apart(["fc"], "lost"), far_apart(["fc", "bn"], "kept")
print(f"modules_to_save fc: {lost:.3f} apart; fc and bn: {kept:.3f}")
assert lost > 0.05 and kept < 1e-5
PYTHON_CODE
