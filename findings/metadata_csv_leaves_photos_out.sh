#!/usr/bin/env bash
# One would guess: a metadata.csv adds columns to an imagefolder's photos; of a photo that it does not name they are None, or it is an error, as it once was.
# True:            such photos are left out without a word: a metadata.csv in one class folder makes all other classes vanish, and the labels; one above train/ and val/ is not read at all; of two with other columns, one's columns are lost.
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
CLASSES = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(3)]
SPLITS = [f"{split}/{name}" for split in ("train", "val") for name in CLASSES]
FOLDERS = {
    "no table": (CLASSES, {}),
    "a table without one of three": (["0.png", "1.png", "2.png"], {".": "file_name,place\n0.png,Rome\n1.png,Oslo\n"}),
    "a table in cat": (CLASSES, {"cat": "file_name,place\n0.png,Rome\n1.png,Oslo\n2.png,Bern\n"}),
    "another in dog": (CLASSES, {"cat": "file_name,place\n0.png,Rome\n1.png,Oslo\n2.png,Bern\n", "dog": "file_name,age\n0.png,1\n1.png,2\n2.png,3\n"}),
    "a table above train and val": (SPLITS, {".": "file_name,place\n" + "".join(f"{file},Rome\n" for file in SPLITS)}),
}
print(f"datasets {datasets.__version__}")
found = {}
for kind, (files, tables) in FOLDERS.items():
    for file in files:
        path = pathlib.Path(kind, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    for place, table in tables.items():
        pathlib.Path(kind, place, "metadata.csv").write_text(table)
    read = datasets.load_dataset("imagefolder", data_dir=kind, cache_dir="cache")
    found[kind] = sum(map(len, read.values())), sorted(read["train"].column_names)
    print(f"{kind}: {found[kind][0]} of {len(files)} photos, columns {', '.join(found[kind][1])}")
assert found.pop("no table") == (6, ["image", "label"])
assert found.pop("a table without one of three") == (2, ["image", "place"])
assert found.pop("a table in cat") == (3, ["image", "place"])
count, columns = found.pop("another in dog")
assert count == 6 and columns in (["age", "image"], ["image", "place"])
assert found == {"a table above train and val": (12, ["image", "label"])}
PYTHON_CODE
