#!/usr/bin/env bash
# One would guess: mlcroissant reads a CSV file as its Croissant description declares it: a column of Text as the words that stand there, a column of Boolean "no" as False, or it refuses.
# True:            pandas guesses first, what is declared comes after: of Text, the classes 1.1 and 1.10 become one, 007 becomes 7, None and NA are missing; of Boolean, every word is True, "no" and "f" too.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet mlcroissant==1.1.1 pandas==3.1.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import csv
import hashlib
import json
import logging
import pathlib
from importlib.metadata import version

import mlcroissant

logging.disable(logging.WARNING)
COLUMNS = {
    "code": (mlcroissant.DataType.TEXT, ["1.1", "1.10", "1.2"]),
    "plate": (mlcroissant.DataType.TEXT, ["007", "7", "012"]),
    "name": (mlcroissant.DataType.TEXT, ["cat", "None", "NA"]),
    "blurred": (mlcroissant.DataType.BOOL, ["yes", "no", "f"]),
    "sharp": (mlcroissant.DataType.BOOL, ["True", "False", "True"]),
}
with open("labels.csv", "w", newline="") as file:
    csv.writer(file).writerows([COLUMNS, *zip(*(words for _, words in COLUMNS.values()), strict=True)])
labels = mlcroissant.FileObject(
    id="table",
    name="table",
    content_url="labels.csv",
    encoding_formats=["text/csv"],
    sha256=hashlib.sha256(pathlib.Path("labels.csv").read_bytes()).hexdigest(),
)
fields = [
    mlcroissant.Field(
        id=f"rows/{column}",
        name=column,
        data_types=[kind],
        source=mlcroissant.Source(file_object="table", extract=mlcroissant.Extract(column=column)),
    )
    for column, (kind, _) in COLUMNS.items()
]
described = mlcroissant.Metadata(
    name="photos",
    description="labels of photos",
    url="https://example.org/photos",
    license=["https://example.org/license"],
    distribution=[labels],
    record_sets=[mlcroissant.RecordSet(id="rows", name="rows", fields=fields)],
)
pathlib.Path("croissant.json").write_text(json.dumps(described.to_json(), default=str))
rows = list(mlcroissant.Dataset(jsonld="croissant.json").records("rows"))
read = {column: [row[f"rows/{column}"] for row in rows] for column in COLUMNS}
print(f"mlcroissant {version('mlcroissant')}, pandas {version('pandas')}")
for column, (kind, words) in COLUMNS.items():
    print(f"{column}, declared as {kind.split('/')[-1]}: in the file {', '.join(words)}; read {', '.join(map(str, read[column]))}")
assert read["code"] == [b"1.1", b"1.1", b"1.2"] and read["plate"] == [b"7", b"7", b"12"] and read["name"] == [b"cat", None, None]
assert read["blurred"] == [True, True, True] and read["sharp"] == [True, False, True]
PYTHON_CODE
