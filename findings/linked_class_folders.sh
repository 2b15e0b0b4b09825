#!/usr/bin/env bash
# One would guess: a subset of ImageNet laid out as links to its class folders is read like any folder of class folders.
# True:            datasets' imagefolder does not go into linked folders: of three classes, two of them links, it reads one, without a label as there is only one; streamed too. timm and torchvision follow. Links to single photos are read by all.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet timm==1.0.31 torch==2.14.1 torchvision==0.29.1 datasets==5.2.0 pillow==12.3.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import pathlib

import datasets
import timm
import torchvision
from PIL import Image
from timm.data import create_dataset

datasets.disable_progress_bars()
names = ("cat", "dog", "fox")
for name in names:
    for place in ("imagenet", "files"):
        pathlib.Path(place, name).mkdir(parents=True)
    for number in range(4):
        file = pathlib.Path("imagenet", name, f"{number}.png").resolve()
        Image.new("RGB", (8, 8)).save(file)
        pathlib.Path("files", name, file.name).symlink_to(file)
pathlib.Path("folders").mkdir()
for name in names[:2]:
    pathlib.Path("folders", name).symlink_to(pathlib.Path("imagenet", name).resolve())
pathlib.Path("imagenet/fox").rename("folders/fox")
pathlib.Path("imagenet/fox").symlink_to(pathlib.Path("folders/fox").resolve())

print(f"datasets {datasets.__version__}, timm {timm.__version__}, torchvision {torchvision.__version__}; 12 photos of 3 classes")
found = {}
for place in ("files", "folders"):
    stored = datasets.load_dataset("imagefolder", data_dir=place, split="train", cache_dir="cache")
    streamed = datasets.load_dataset("imagefolder", data_dir=place, split="train", streaming=True)
    for reader, data in (("datasets", stored), ("datasets, streamed", list(streamed))):
        found[place, reader] = len(data), "label" in data[0]
    found[place, "timm"] = len(create_dataset("", place)), True
    found[place, "torchvision"] = len(torchvision.datasets.ImageFolder(place)), True
for (place, reader), (count, labelled) in found.items():
    print(f"links to {place}, {reader}: {count} photos, {'with' if labelled else 'without'} labels")
for (place, reader), answer in found.items():
    assert answer == ((4, False) if place == "folders" and reader.startswith("datasets") else (12, True)), (place, reader)
PYTHON_CODE
