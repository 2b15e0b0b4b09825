#!/usr/bin/env bash
# One would guess: PyTorchModelHubMixin.from_pretrained fails where the file's keys are not the model's.
# True:            strict is off: what does not fit is left at random, with no warning, and each call gives another model.
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
import warnings

import huggingface_hub
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn


class Saved(nn.Module, PyTorchModelHubMixin):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)


class Loaded(nn.Module, PyTorchModelHubMixin):
    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(4, 3)


Saved().save_pretrained("model")
with warnings.catch_warnings():
    warnings.simplefilter("error")
    first, second = (Loaded.from_pretrained("model").classifier.weight for _ in range(2))
print(f"huggingface_hub {huggingface_hub.__version__}: loaded twice from one folder, weights equal: {torch.equal(first, second)}")
assert not torch.equal(first, second)
try:
    Loaded.from_pretrained("model", strict=True)
except RuntimeError as error:
    print(f"strict=True: {str(error).splitlines()[0]}")
else:
    raise AssertionError("strict=True took it")
PYTHON_CODE
