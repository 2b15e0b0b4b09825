#!/usr/bin/env bash
# One would guess: Datumaro's import of an ImageNet folder gives each photo as an item, as torchvision, timm and datasets do, or says that it leaves one out.
# True:            an item is known by its class and its name without the suffix: of 1.jpg and 1.png, as in folders merged from two sources, one is kept, whichever the disk lists last, with its label twice; the other is gone, in what is exported too. A folder within a class is a class of its own.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datumaro==1.13.12 pillow==12.3.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat > items.py <<'PYTHON_CODE'
from importlib.metadata import version
from pathlib import Path

import datumaro
from PIL import Image

for name in ("cat", "dog"):
    Path("photos", name).mkdir(parents=True)
    for number in range(10):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(f"photos/{name}/{number}.jpg")
        Image.new("RGB", (8, 8), (0, number, 0)).save(f"photos/{name}/{number}.png")
    Path("photos", name, "indoors").mkdir()
    Image.new("RGB", (8, 8)).save(f"photos/{name}/indoors/10.jpg")
written = sum(1 for path in Path("photos").rglob("*.*") if path.is_file())
data = datumaro.Dataset.import_from("photos", "imagenet")
classes = [label.name for label in data.categories()[datumaro.AnnotationType.label].items]
kept = [Path(item.media.path).suffix for item in data]
labels = {len(item.annotations) for item in data if "indoors" not in item.id}
data.export("exported", "imagenet", save_media=True)
exported = sum(1 for path in Path("exported").rglob("*.*") if path.is_file())
print(f"datumaro {version('datumaro')}: {written} photos written, {len(data)} items ({kept.count('.jpg')} .jpg, {kept.count('.png')} .png), {exported} exported; labels of an item {labels}; classes {classes}")
assert written == 42 and len(data) == exported == 22 and labels == {2}
assert classes == ["cat", "cat/indoors", "dog", "dog/indoors"]
PYTHON_CODE
"$PYTHON" -W ignore items.py
