#!/usr/bin/env bash
# One would guess: rename a column of a datasets parquet file with pyarrow, and load_dataset knows that column no more, but the others' classes and pictures still.
# True:            a column added or one left out changes nothing, but a renamed one makes it forget all features: pictures become bytes, classes bare numbers, without a word.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0 pyarrow==25.0.1 pillow==12.3.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os

os.environ.update(HF_HOME=os.getcwd(), HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
import datasets
import pyarrow
import pyarrow.parquet
from PIL import Image

features = datasets.Features(
    image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]), source=datasets.Value("string")
)
rows = {"image": [Image.new("RGB", (4, 4))] * 2, "label": [0, 1], "source": ["a", "b"]}
datasets.Dataset.from_dict(rows, features=features).to_parquet("stored.parquet")
table = pyarrow.parquet.read_table("stored.parquet")
changed = {
    "as it was": table,
    "a column more": table.append_column("score", pyarrow.array([0.5, 0.9])),
    "a column less": table.drop_columns(["source"]),
    "source renamed": table.rename_columns(["image", "label", "origin"]),
}
print(f"datasets {datasets.__version__}, pyarrow {pyarrow.__version__}: types of image and label")
seen = {}
for number, (name, variant) in enumerate(changed.items()):
    pyarrow.parquet.write_table(variant, f"{number}.parquet")
    read = datasets.load_dataset("parquet", data_files=f"{number}.parquet", split="train").features
    seen[name] = type(read["image"]).__name__, type(read["label"]).__name__
    print(f"{name}: {seen[name]}")
assert all(seen[name] == ("Image", "ClassLabel") for name in list(changed)[:3])
assert seen["source renamed"] == ("dict", "Value")
PYTHON_CODE
