#!/usr/bin/env bash
# One would guess: unwrap_model(model, keep_fp32_wrapper=False) returns a plain model to be saved, and the prepared one goes on training in mixed precision.
# True:            it is the same model: its forward is unwrapped for good, and the rest of the run is computed in float32, without a word, slower and with twice the memory, while accelerator.mixed_precision says bf16.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet accelerate==1.15.0 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import accelerate
import torch
from torch import nn

warnings.simplefilter("error")
accelerator = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
layer = nn.Linear(4, 4)
seen = []
layer.register_forward_hook(lambda module, inputs, output: seen.append(str(output.dtype)))
model = accelerator.prepare(nn.Sequential(layer, nn.ReLU()))
saves = {
    "before any": lambda: None,
    "save_state": lambda: accelerator.save_state("checkpoint"),
    "save_model": lambda: accelerator.save_model(model, "model"),
    "get_state_dict": lambda: accelerator.get_state_dict(model),
    "unwrap_model": lambda: accelerator.unwrap_model(model),
    "unwrap_model, keep_fp32_wrapper=False": lambda: accelerator.unwrap_model(model, keep_fp32_wrapper=False),
}
print(f"accelerate {accelerate.__version__}, mixed_precision=bf16: what a layer of the prepared model computes in")
for name, save in saves.items():
    save()
    model(torch.ones(1, 4))
    print(f"after {name}: {seen[-1]} (accelerator.mixed_precision: {accelerator.mixed_precision})")
assert seen == ["torch.bfloat16"] * 5 + ["torch.float32"] and accelerator.mixed_precision == "bf16"
PYTHON_CODE
