#!/usr/bin/env bash
# One would guess: hidden_act of transformers' ResNetConfig is the activation of the network.
# True:            it is that after the stem and after each sum; within the blocks relu stays, whatever is configured. Weights of a network with another activation throughout load without a word, and give other logits.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import collections

import transformers
from transformers import ResNetConfig, ResNetForImageClassification

print(f"transformers {transformers.__version__}: activations of a ResNet with hidden_act=\"silu\"")
for layer_type in ("bottleneck", "basic"):
    network = ResNetForImageClassification(ResNetConfig(hidden_act="silu", layer_type=layer_type, depths=[1, 1, 1, 1]))
    names = [type(module).__name__ for module in network.modules()]
    counts = {name: count for name, count in collections.Counter(names).items() if "LU" in name or "Silu" in name}
    print(f"{layer_type}: {counts}")
    assert counts.get("ReLU", 0) >= 4 and len(counts) == 2
PYTHON_CODE
