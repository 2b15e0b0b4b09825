#!/usr/bin/env bash
# One would guess: Trainer leaves normalisation out of weight decay, whatever the layer is called, weights and biases.
# True:            it goes by LayerNorm and by names: of a ResNet's BatchNorm the weights are decayed and the biases are not.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet transformers==5.24.0 accelerate==1.15.0 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import transformers
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments
from torch import nn

config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=4)
model = ResNetForImageClassification(config)
trainer = Trainer(model, TrainingArguments("run", weight_decay=1e-4, use_cpu=True, report_to=[]))
decayed = set(trainer.get_decay_parameter_names(model))
norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
weights, biases = ([f"{name}.{kind}" in decayed for name in norms] for kind in ("weight", "bias"))
print(f"transformers {transformers.__version__}, {len(norms)} BatchNorms: decayed weights {sum(weights)}, biases {sum(biases)}")
assert all(weights) and not any(biases)
PYTHON_CODE
