#!/usr/bin/env bash
# One would guess: a LoRA adapter of a ResNet holds what training has changed: put on its base model, it gives the logits of the model that was trained.
# True:            training moves the base model's BatchNorm statistics, and the adapter does not hold them: loaded again it is another model, without a warning; name the BatchNorms in modules_to_save.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet peft==0.21.2 transformers==5.24.0 accelerate==1.15.0 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

warnings.filterwarnings("error", module="peft")
transformers.utils.logging.disable_progress_bar()
torch.manual_seed(0)
ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=2)).save_pretrained("base")


def base():
    return ResNetForImageClassification.from_pretrained("base")


def pictures(number):
    labels = torch.randint(2, (number,))
    return torch.randn(number, 3, 32, 32) + 2 + labels[:, None, None, None], labels


def trained_and_loaded(modules_to_save):
    model = get_peft_model(base(), LoraConfig(target_modules=["convolution"], modules_to_save=modules_to_save))
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), 1e-2)
    model.train()
    for _ in range(60):
        images, labels = pictures(32)
        nn.functional.cross_entropy(model(pixel_values=images).logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained("adapter")
    images, labels = pictures(200)
    models = model.eval(), PeftModel.from_pretrained(base(), "adapter").eval()
    with torch.no_grad():
        return [(m(pixel_values=images).logits.argmax(1) == labels).float().mean().item() for m in models]


print(f"peft {peft.__version__}, a ResNet of two classes: accuracy in memory, and loaded again")
for names in (["classifier"], ["classifier", "normalization"]):
    memory, loaded = trained_and_loaded(names)
    print(f"modules_to_save={names}: {memory:.2f}, {loaded:.2f}")
    assert memory > 0.9 and (loaded == memory if "normalization" in names else loaded < 0.7)
PYTHON_CODE
