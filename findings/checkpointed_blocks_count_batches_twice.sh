#!/usr/bin/env bash
# One would guess: checkpointing of activations costs time and saves memory; the model that comes out is the same.
# True:            a block's BatchNorms see each batch again when it is computed again: their statistics move twice, momentum 0.1 is 0.19, while the stem's move once; timm's ResNet-50 gives other logits.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet timm==1.0.31 torch==2.14.1 torchvision==0.29.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import copy
import warnings

import timm
import torch
from torch import nn

warnings.simplefilter("error")
torch.manual_seed(0)
plain = timm.create_model("resnet50", num_classes=10)
models = {"plain": plain, "checkpointed": copy.deepcopy(plain)}
models["checkpointed"].set_grad_checkpointing()
images, labels = torch.randn(8, 3, 64, 64) + 1, torch.arange(8)
gradients, logits, counts = {}, {}, {}
for name, model in models.items():
    model.train()
    for _ in range(3):
        model.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
    gradients[name] = model.conv1.weight.grad
    norms = {layer: module for layer, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    counts[name] = {layer: int(norm.num_batches_tracked) for layer, norm in norms.items()}
    with torch.no_grad():
        logits[name] = model.eval()(images)
same = torch.allclose(gradients["plain"], gradients["checkpointed"], rtol=1e-3, atol=1e-5)
apart = (logits["plain"] - logits["checkpointed"]).abs().max().item() / logits["plain"].std().item()
twice = sum(count == 6 for count in counts["checkpointed"].values())
print(f"timm {timm.__version__}, torch {torch.__version__}: three batches, gradients equal: {same}")
print(f"batches counted: plain {set(counts['plain'].values())}; checkpointed 6 by {twice} of {len(counts['plain'])} BatchNorms")
print(f"logits in evaluation: {apart:.2f} standard deviations apart")
assert same and set(counts["plain"].values()) == {3} and counts["checkpointed"]["bn1"] == 3 and twice > 48 and apart > 0.1
PYTHON_CODE
