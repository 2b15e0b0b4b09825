#!/usr/bin/env bash
# One would guess: config.label2id is id2label turned round: list(config.label2id) are the class names by their number, and from_pretrained(id2label=…) sets both.
# True:            it is stored in alphabetical order, so the list is right before saving and another after loading; and given id2label alone, label2id keeps the names of the old classes, also in what is saved next.
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
import warnings

import transformers
from transformers import ResNetConfig, ResNetForImageClassification

warnings.simplefilter("error")
transformers.utils.logging.disable_progress_bar()
names = ["tench", "goldfish", "great white shark", "ant"]
config = ResNetConfig(
    embedding_size=8,
    hidden_sizes=[8],
    depths=[1],
    id2label=dict(enumerate(names)),
    label2id={name: number for number, name in enumerate(names)},
)
ResNetForImageClassification(config).save_pretrained("model")
loaded = ResNetForImageClassification.from_pretrained("model").config
print(f"transformers {transformers.__version__}, list(label2id) before and after: {list(config.label2id)}, {list(loaded.label2id)}")
assert list(config.label2id) == names == list(loaded.id2label.values()) and list(loaded.label2id) == sorted(names)

flowers = {0: "rose", 1: "tulip", 2: "daisy", 3: "iris"}
tuned = ResNetForImageClassification.from_pretrained("model", id2label=flowers)
tuned.save_pretrained("tuned")
again = ResNetForImageClassification.from_pretrained("tuned").config
print(f"given other names as id2label: {list(again.id2label.values())}, label2id {again.label2id}")
assert again.id2label == flowers and again.label2id == loaded.label2id
PYTHON_CODE
