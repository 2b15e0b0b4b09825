#!/usr/bin/env bash
# One would guess: Daft's read_csv of several files puts each column under its name, wherever it stands in a file, as its read_parquet and read_json, pyarrow and datasets do, or refuses, as Polars does.
# True:            the first file's header counts, and of the others the places: photo and label are exchanged where a file has them the other way round, an extra column in between becomes the label (of 640 × 480 photos, class 640), and what is no number becomes None.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet daft==0.7.26 pyarrow==25.0.1 polars==2.1.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
export DO_NOT_TRACK=1 DAFT_PROGRESS_BAR=0
"$PYTHON" -W ignore - <<'PYTHON_CODE'
import json

import daft
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.parquet

FIRST = "photo,label\na.jpg,1\n"
OTHERS = {
    "the other way round": "label,photo\n2,b.jpg\n",
    "one column more": "photo,width,label\nb.jpg,640,2\n",
}


def rows(columns):
    return list(zip(columns["photo"], columns["label"], strict=True))


print(f"daft {daft.__version__}, pyarrow {pyarrow.__version__}, polars {polars.__version__}: a.jpg is of class 1, b.jpg of class 2")
for name, other in OTHERS.items():
    files = ["first.csv", "second.csv"]
    for file, text in zip(files, (FIRST, other), strict=True):
        with open(file, "w") as stream:
            stream.write(text)
        (header, values) = (line.split(",") for line in text.splitlines())
        row = {key: value if key == "photo" else int(value) for key, value in zip(header, values, strict=True)}
        with open(file.replace("csv", "json"), "w") as stream:
            stream.write(json.dumps(row))
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), file.replace("csv", "parquet"))
    seen = {
        "Daft, read_csv": rows(daft.read_csv(files).to_pydict()),
        "Daft, read_json": rows(daft.read_json([file.replace("csv", "json") for file in files]).to_pydict()),
        "Daft, read_parquet": rows(daft.read_parquet([file.replace("csv", "parquet") for file in files]).to_pydict()),
        "pyarrow, CSV": rows(pyarrow.dataset.dataset(files, format="csv").to_table().to_pydict()),
    }
    for reader, pairs in seen.items():
        print(f"{name}: {reader} {pairs}")
        assert (sorted(pairs) == [("a.jpg", 1), ("b.jpg", 2)]) == (reader != "Daft, read_csv")
    try:
        polars.read_csv("*.csv")
    except polars.exceptions.PolarsError as error:
        print(f"{name}: Polars refuses: {error}")
    else:
        raise SystemExit("Polars reads them")
    assert seen["Daft, read_csv"][1] == (("2", None) if name == "the other way round" else ("b.jpg", 640))
PYTHON_CODE
