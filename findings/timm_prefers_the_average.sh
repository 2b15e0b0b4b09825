#!/usr/bin/env bash
# One would guess: create_model(checkpoint_path=…) loads a checkpoint's state_dict.
# True:            if there is a state_dict_ema beside it, that one: the average, however short it has run.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet timm==1.0.31 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import timm
import torch

model = timm.create_model("resnet10t", num_classes=2)
weights = model.state_dict()
average = {name: torch.full_like(value, 7) if value.is_floating_point() else value for name, value in weights.items()}
torch.save({"state_dict": weights, "state_dict_ema": average}, "checkpoint.pth")
loaded = timm.create_model("resnet10t", num_classes=2, checkpoint_path="checkpoint.pth")
print(f"timm {timm.__version__}: mean of the classifier's weights {loaded.fc.weight.mean():.3f}; in state_dict {model.fc.weight.mean():.3f}")
assert torch.equal(loaded.fc.weight, average["fc.weight"]) and not torch.equal(loaded.fc.weight, weights["fc.weight"])
PYTHON_CODE
