#!/usr/bin/env bash
# One would guess: a model card's results on two data sets stand under the two names that EvalResult was given.
# True:            results are gathered by type, config and split, not by name: of two folders of pictures, both of the type imagefolder, all stand under the first one's name.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet huggingface_hub==2.4.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import huggingface_hub
from huggingface_hub import EvalResult, ModelCard, ModelCardData

about = {"task_type": "image-classification", "dataset_type": "imagefolder", "metric_type": "accuracy"}
results = [
    EvalResult(dataset_name="flowers", metric_value=0.93, **about),
    EvalResult(dataset_name="pets", metric_value=0.41, **about),
]
card = ModelCard(f"---\n{ModelCardData(model_name='resnet-50', eval_results=results).to_yaml()}\n---\n")
print(f"huggingface_hub {huggingface_hub.__version__}, given: {[(r.dataset_name, r.metric_value) for r in results]}")
read = [(result.dataset_name, result.metric_value) for result in card.data.eval_results]
print(f"on the card: {read}")
assert read == [("flowers", 0.93), ("flowers", 0.41)]
PYTHON_CODE
