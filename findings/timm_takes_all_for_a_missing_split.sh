#!/usr/bin/env bash
# One would guess: timm's create_dataset, and so its train and validate scripts, refuses split="validation" where a folder has train and test only, or Train and Val, as torchvision does for a folder that is not there.
# True:            without such a folder it takes the whole tree: validation is then all of train and test, and of Train and Val both are trained on as well as judged by; nothing is said.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet timm==1.0.31 torch==2.14.1 torchvision==0.29.1 pillow==12.3.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W error::UserWarning - <<'PYTHON_CODE'
import pathlib

import timm
from PIL import Image
from timm.data import create_dataset

print(f"timm {timm.__version__}; 2 classes of 3 photos in each folder")
taken = {}
for places in (("train", "val"), ("train", "test"), ("Train", "Val"), ("train", "dev")):
    root = pathlib.Path("-".join(places))
    for place in places:
        for name in ("cat", "dog"):
            (root / place / name).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (8, 8)).save(root / place / name / f"{number}.png")
    for split in ("train", "validation"):
        dataset = create_dataset("", str(root), split=split)
        taken[root.name, split] = {pathlib.Path(file).relative_to(root).parts[0] for file, _ in dataset.reader.samples}
        print(f"{' and '.join(places)}: {split} is {len(dataset)} photos, of {', '.join(sorted(taken[root.name, split]))}")
assert taken == {
    ("train-val", "train"): {"train"},
    ("train-val", "validation"): {"val"},
    ("train-test", "train"): {"train"},
    ("train-test", "validation"): {"train", "test"},
    ("Train-Val", "train"): {"Train", "Val"},
    ("Train-Val", "validation"): {"Train", "Val"},
    ("train-dev", "train"): {"train"},
    ("train-dev", "validation"): {"train", "dev"},
}
PYTHON_CODE
