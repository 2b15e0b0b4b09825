#!/usr/bin/env bash
# One would guess: datasets' imagefolder takes train/ and val/ for splits and the folders in them for classes; in a folder of classes alone, one of them may be called train (the vehicle, as in CIFAR-100, COCO and Open Images), and a photo may be called what it likes.
# True:            a split is any folder or file whose name has train, test, val or dev as a word: of train/ and val/ with bus, car and train, the validation's trains are trained on as well; of classes alone only the trains are loaded, without a label; one photo "steam train.jpg" makes all others vanish.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==12.3.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import pathlib

import datasets
from PIL import Image

datasets.disable_progress_bars()
CLASSES = ("bus", "car", "train")
FOLDERS = {
    "train and val": [f"{split}/{name}/{split}{number}.png" for split in ("train", "val") for name in CLASSES for number in range(4)],
    "classes alone": [f"{name}/{number}.png" for name in CLASSES for number in range(4)],
    "one photo's name": [f"{name}/{number}.png" for name in ("bus", "car", "railway") for number in range(4)] + ["railway/steam train.png"],
    "three other classes": [f"{name}/{number}.png" for name in ("boot", "sandal", "training shoe") for number in range(4)],
}
print(f"datasets {datasets.__version__}")
found = {}
for kind, files in FOLDERS.items():
    for file in files:
        path = pathlib.Path(kind, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    splits = datasets.load_dataset("imagefolder", data_dir=kind, cache_dir="cache")
    found[kind] = {name: (len(split), "label" in split.features) for name, split in splits.items()}
    said = ", ".join(f"{name} {count}{'' if labelled else ' without labels'}" for name, (count, labelled) in found[kind].items())
    print(f"{kind}, {len(files)} photos: {said}")
    if kind == "train and val":
        read = {name: {row["path"] for row in split.cast_column("image", datasets.Image(decode=False))["image"]} for name, split in splits.items()}
        both = sorted(pathlib.Path(path).relative_to(pathlib.Path(kind).resolve()).as_posix() for path in read["train"] & read["validation"])
        print(f"in both: {', '.join(both)}")
        assert both == [f"val/train/val{number}.png" for number in range(4)]
assert found == {
    "train and val": {"train": (16, True), "validation": (12, True)},
    "classes alone": {"train": (4, False)},
    "one photo's name": {"train": (1, False)},
    "three other classes": {"train": (4, False)},
}
PYTHON_CODE
