#!/usr/bin/env bash
# One would guess: a model that from_pretrained has loaded is in memory: what becomes of its file later, a better one copied over it say, is nothing to it, as after torch.load.
# True:            safetensors.torch maps the file, and transformers takes it as it is: cp, scp or shutil.copy over model.safetensors changes the weights of the running model, those too that it has learned since. torch.load, load_model and NumPy's half of safetensors copy; a file that is renamed into the place changes nothing.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet safetensors==0.8.0 transformers==5.24.0 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os
import shutil

import safetensors
import safetensors.numpy
import safetensors.torch
import torch
import transformers
from transformers import ResNetConfig, ResNetForImageClassification

transformers.utils.logging.disable_progress_bar()
config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=4)
for name in ("old", "new"):
    ResNetForImageClassification(config).save_pretrained(name)
new = {key: value.clone() for key, value in safetensors.torch.load_file("new/model.safetensors").items()}


def whose(state):
    """The share of a model's convolutions that are those of the new file."""
    weights = [key for key in new if key.endswith("convolution.weight")]
    return sum(torch.equal(torch.as_tensor(state[key]), new[key]) for key in weights) / len(weights)


def trained(folder):
    model = ResNetForImageClassification.from_pretrained(folder)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(pixel_values=torch.randn(8, 3, 32, 32), labels=torch.arange(8) % 4).loss.backward()
    optimizer.step()
    return model.state_dict()


def copied_into(model, file):
    safetensors.torch.load_model(model, file)
    return model.state_dict()


file = "model/model.safetensors"
loads = {
    "from_pretrained": lambda: ResNetForImageClassification.from_pretrained("model").state_dict(),
    "from_pretrained, and trained": lambda: trained("model"),
    "safetensors.torch.load_file": lambda: safetensors.torch.load_file(file),
    "safetensors.torch.load_model": lambda: copied_into(ResNetForImageClassification(config), file),
    "safetensors.numpy.load_file": lambda: safetensors.numpy.load_file(file),
}
print(f"safetensors {safetensors.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
print("convolutions of the model in memory that are the new file's:")
for name, load in loads.items():
    shares = []
    for replace in (shutil.copyfile, os.replace):
        shutil.copytree("old", "model", dirs_exist_ok=True)
        shutil.copytree("new", "copy", dirs_exist_ok=True)
        state = load()
        replace("copy/model.safetensors", file)
        shares.append(whose(state))
    print(f"{name}: {shares[0]:.0%} after a copy over the old one, {shares[1]:.0%} after a rename")
    assert shares == [float("from_pretrained" in name or "torch.load_file" in name), 0.0]
PYTHON_CODE
