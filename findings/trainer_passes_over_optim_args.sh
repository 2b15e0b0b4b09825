#!/usr/bin/env bash
# One would guess: TrainingArguments(optim="sgd", optim_args="momentum=0.9,weight_decay=1e-4,nesterov=True") is SGD with all three, and what optim_args names wrongly, or an optimizer does not know, is refused.
# True:            momentum and nesterov are taken, the weight decay is 0: the groups have that of weight_decay, which beats it. A name that is not known is passed over: "momentom=0.9" trains without, and adamw_torch takes none, neither betas nor amsgrad.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet transformers==5.24.0 accelerate==1.15.0 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import transformers
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

warnings.filterwarnings("error", module="transformers")
config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=2)
print(f"transformers {transformers.__version__}")
asked = {
    "sgd": [
        ("momentum=0.9,weight_decay=1e-4,nesterov=True", {"momentum": 0.9, "weight_decay": 0.0, "nesterov": True}),
        ("momentom=0.9", {"momentum": 0, "weight_decay": 0.0, "nesterov": False}),
    ],
    "rmsprop": [("alpha=0.9,eps=1.0,weight_decay=1e-4", {"alpha": 0.9, "eps": 1.0, "weight_decay": 0.0})],
    "adamw_torch": [("beta1=0.5,amsgrad=True,eps=1e-3", {"betas": (0.9, 0.999), "amsgrad": False, "eps": 1e-8})],
}
for optim, cases in asked.items():
    for optim_args, expected in cases:
        arguments = TrainingArguments("run", optim=optim, optim_args=optim_args, use_cpu=True, report_to=[], log_level="error")
        optimizer = Trainer(ResNetForImageClassification(config), arguments).create_optimizer()
        groups = [{key: group[key] for key in expected} for group in optimizer.param_groups]
        print(f"{optim} with {optim_args}: {groups[0]}")
        assert groups == [expected] * 2
PYTHON_CODE
