#!/usr/bin/env bash
# One would guess: cats/indoors, cats/outdoors, dogs/indoors and dogs/outdoors are two classes, cats and dogs, or four, in timm and datasets as in torchvision.
# True:            timm and datasets call a photo by the folder it lies in: two classes as well, indoors and outdoors, cats and dogs mixed in both. torchvision goes by the upper folder: cats and dogs.
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
for animal in ("cats", "dogs"):
    for place in ("indoors", "outdoors"):
        pathlib.Path("photos", animal, place).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8)).save(f"photos/{animal}/{place}/{number}.png")
by_timm = create_dataset("", "photos")
by_torchvision = torchvision.datasets.ImageFolder("photos")
by_datasets = datasets.load_dataset("imagefolder", data_dir="photos", split="train", cache_dir="cache")
paths = by_datasets.cast_column("image", datasets.Image(decode=False))["image"]
read = {
    f"timm {timm.__version__}": (sorted(by_timm.reader.class_to_idx), list(by_timm.reader.samples)),
    f"datasets {datasets.__version__}": (by_datasets.features["label"].names, [(image["path"], label) for image, label in zip(paths, by_datasets["label"], strict=True)]),
    f"torchvision {torchvision.__version__}": (by_torchvision.classes, by_torchvision.samples),
}
for reader, (names, samples) in read.items():
    cats = [names[label] for path, label in samples if "cats" in pathlib.Path(path).parts]
    print(f"{reader}: classes {names}, {len(samples)} photos; the cats are called {cats}")
    assert len(samples) == 12
    expected = (["cats", "dogs"], ["cats"] * 6) if reader.startswith("torchvision") else (["indoors", "outdoors"], ["indoors"] * 3 + ["outdoors"] * 3)
    assert (names, sorted(cats)) == expected, reader
PYTHON_CODE
