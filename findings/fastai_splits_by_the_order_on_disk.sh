#!/usr/bin/env bash
# One would guess: fastai's valid_pct=0.2, seed=42 holds out the same pictures on each machine that has the same folder; that is what the seed is for.
# True:            get_image_files gives them in the order in which the disk lists them, and the seed draws places in that list: of a copy of the folder, with the same names and bytes, other pictures are held out, and a model that goes on there is judged by pictures it was trained on. .sorted() makes them the same.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
memory=$(mktemp -d -p /dev/shm) # a file system that lists what was written last first; ext4 lists by a number of its own
trap 'rm -rf "$folder" "$memory"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet fastai==2.8.12 torch==2.14.1 torchvision==0.29.1 pillow==13.0.0
  PYTHON=$folder/venv/bin/python
fi
cat > "$folder/split.py" <<'PYTHON_CODE'
import random
import shutil
import sys
from pathlib import Path

import fastai
from fastai.vision.all import ImageDataLoaders, L, get_image_files
from PIL import Image

original, copy = (Path(sys.argv[1]) / name for name in ("original", "copy"))
for number in range(100):
    path = original / ("cat", "dog")[number // 50] / f"{number:03}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
for path in random.Random(0).sample(sorted(original.rglob("*.png")), 100):
    (copy / path.parent.name).mkdir(parents=True, exist_ok=True)
    shutil.copy(path, copy / path.parent.name)


def held_out(folder, files=get_image_files):
    loaders = ImageDataLoaders.from_path_func(folder, files(folder), lambda path: path.parent.name, valid_pct=0.2, seed=42, num_workers=0)
    return {path.name for path in loaders.valid.items}


def by_name(folder):
    return L(sorted(get_image_files(folder), key=lambda path: path.relative_to(folder)))


def from_folder(folder):
    return {path.name for path in ImageDataLoaders.from_folder(folder, valid_pct=0.2, seed=42, num_workers=0).valid.items}


print(f"fastai {fastai.__version__}, 100 pictures and a copy of their folder, valid_pct=0.2, seed=42: 20 are held out")
shared = len(held_out(original) & held_out(copy))
in_folders = len(from_folder(original) & from_folder(copy))
in_order = len(held_out(original, by_name) & held_out(copy, by_name))
print(f"held out of both: {shared} by get_image_files, {in_folders} by from_folder, {in_order} when sorted")
assert held_out(original) == held_out(original)
assert shared < 12 and in_folders < 12 and in_order == 20
PYTHON_CODE
"$PYTHON" -W ignore "$folder/split.py" "$memory"
