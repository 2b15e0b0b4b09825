#!/usr/bin/env bash
# One would guess: PyTorchModelHubMixin stores the arguments that a model was made with, or says which it cannot; from_pretrained makes the same model.
# True:            what JSON does not know, a class such as nn.GELU, a NumPy number or array, a tensor, is replaced by the default in config.json without a word: loaded again, the same weights give other logits.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet huggingface-hub==2.4.0 safetensors==0.8.0 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import json
import warnings

import huggingface_hub
import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn


class Net(nn.Module, PyTorchModelHubMixin):
    def __init__(self, activation=nn.ReLU, eps=1e-5, mean=(0.0, 0.0, 0.0), groups=1):
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean).float().view(3, 1, 1), persistent=False)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, float(eps)), activation(), nn.Flatten(), nn.Linear(288, 4))

    def forward(self, images):
        return self.layers(images - self.mean)


changes = {
    "groups=2": {"groups": 2},
    "activation=nn.GELU": {"activation": nn.GELU},
    "eps=np.float32(1.0)": {"eps": np.float32(1.0)},
    "mean=np.array([0.5, 0.4, 0.4])": {"mean": np.array([0.5, 0.4, 0.4])},
    "mean=torch.tensor([0.5, 0.4, 0.4])": {"mean": torch.tensor([0.5, 0.4, 0.4])},
    "mean=[0.5, 0.4, 0.4]": {"mean": [0.5, 0.4, 0.4]},
}
torch.manual_seed(0)
images = torch.rand(4, 3, 8, 8)
print(f"huggingface_hub {huggingface_hub.__version__}: logits before saving and after loading")
for name, arguments in changes.items():
    model = Net(**arguments).eval()
    model.save_pretrained(name)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("error", category=UserWarning)
        apart = (model(images) - Net.from_pretrained(name).eval()(images)).abs().max().item()
    with open(f"{name}/config.json", encoding="utf-8") as file:
        stored = json.load(file)
    print(f"{name}: {apart:.3f} apart; stored: {stored}")
    kept = name in ("groups=2", "mean=[0.5, 0.4, 0.4]")
    assert apart == 0 if kept else apart > 0.01
PYTHON_CODE
