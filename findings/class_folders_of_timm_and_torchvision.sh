#!/usr/bin/env bash
# One would guess: the same folder of class folders gives the same class numbers and the same pictures in timm, torchvision and datasets.
# True:            named 1 to 12, timm sorts by number, the others by letter; of seven formats timm reads 3, torchvision 6, datasets 7, without a word.
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
formats = ["jpg", "jpeg", "png", "webp", "bmp", "tiff", "gif"]
for name in range(1, 13):
    folder = pathlib.Path("photos", str(name))
    folder.mkdir(parents=True)
    for suffix in formats:
        Image.new("RGB", (8, 8)).save(folder / f"picture_{suffix}.{suffix}")
by_timm = create_dataset("", "photos")
by_torchvision = torchvision.datasets.ImageFolder("photos")
by_datasets = datasets.load_dataset("imagefolder", data_dir="photos", split="train", cache_dir="cache")
found = {
    f"timm {timm.__version__}": (by_timm.reader.class_to_idx["10"], len(by_timm)),
    f"torchvision {torchvision.__version__}": (by_torchvision.class_to_idx["10"], len(by_torchvision)),
    f"datasets {datasets.__version__}": (by_datasets.features["label"].str2int("10"), len(by_datasets)),
}
for name, (number, count) in found.items():
    print(f"{name}: class 10 is number {number}; {count} pictures of {12 * len(formats)}")
assert list(found.values()) == [(9, 36), (1, 72), (1, 84)]
PYTHON_CODE
