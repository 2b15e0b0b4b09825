#!/usr/bin/env bash
# One would guess: load_dataset('webdataset') gives every field of a tar file, None where an example has none, and refuses what it cannot pair.
# True:            the first five examples say which fields there are: what comes later is dropped, and if labels stand behind all the pictures there are twice as many examples and no label.
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
import io
import os
import tarfile

os.environ.update(HF_HOME=os.getcwd(), HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
import datasets
from PIL import Image

png = io.BytesIO()
Image.new("RGB", (4, 4)).save(png, "PNG")


def load(name, files):
    with tarfile.open(f"{name}.tar", "w") as tar:
        for file, content in files:
            entry = tarfile.TarInfo(file)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    rows = datasets.load_dataset("webdataset", data_files=f"{name}.tar", split="train")
    fields = [field for field in rows.features if not field.startswith("__")]
    print(f"{name}: {len(rows)} examples with {fields}")
    return len(rows), fields


print(f"datasets {datasets.__version__}, tar files of eight pictures")
pictures = [(f"{number}.png", png.getvalue()) for number in range(8)]
labels = [(f"{number}.cls", str(number % 2).encode()) for number in range(8)]
paired = [file for pair in zip(pictures, labels) for file in pair]
late = load("caption-with-the-last-three", paired + [("7.txt", b"a cat")])
everywhere = [file for number in range(8) for file in (*paired[2 * number : 2 * number + 2], (f"{number}.txt", b"a cat"))]
first = load("caption-with-all", everywhere)
apart = load("labels-behind-the-pictures", pictures + labels)
assert first == (8, ["png", "cls", "txt"]) and late == (8, ["png", "cls"]) and apart == (16, ["png"])
PYTHON_CODE
