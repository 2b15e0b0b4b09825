#!/usr/bin/env bash
# One would guess: a folder of photos is a class whatever its name: __background__, as in many lists of classes, is one.
# True:            datasets' imagefolder leaves out folders that begin with two underscores, and says nothing: one class less, the others numbered from 0; torchvision has it as class 0.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0 torchvision==0.29.1 torch==2.14.1 pillow==12.3.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import pathlib

import datasets
import torchvision
from PIL import Image

datasets.disable_progress_bars()
for name in ("__background__", "_blurred_", "cat", "dog"):
    for file in ("1.png", "_2.png", "__3__.png"):
        path = pathlib.Path("photos", name, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
by_datasets = datasets.load_dataset("imagefolder", data_dir="photos", split="train", cache_dir="cache")
by_torchvision = torchvision.datasets.ImageFolder("photos")
names = by_datasets.features["label"].names
print(f"datasets {datasets.__version__}: {names}, {len(by_datasets)} photos of 12; cat is number {names.index('cat')}")
print(f"torchvision {torchvision.__version__}: {by_torchvision.classes}, {len(by_torchvision)} photos; cat is number {by_torchvision.class_to_idx['cat']}")
assert names == ["_blurred_", "cat", "dog"] and len(by_datasets) == 9
assert len(by_torchvision.classes) == 4 and len(by_torchvision) == 12
PYTHON_CODE
