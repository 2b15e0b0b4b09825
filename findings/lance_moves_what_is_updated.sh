#!/usr/bin/env bash
# One would guess: correcting a label in a Lance table leaves the row where it is: take([2]) and the row's id still mean the same picture.
# True:            the row is written again at the end: take([2]) is now the next picture, and of row 2 the id is new; lists of indices and splits made before mean other pictures.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pylance==14.0.2 pyarrow==25.0.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import lance
import pyarrow

names = [f"picture {number}" for number in range(6)]
table = pyarrow.table({"name": names, "label": [0, 0, 0, 1, 1, 1]})
data = lance.write_dataset(table, "pictures.lance")


def rows():
    read = lance.dataset("pictures.lance")
    ids = read.to_table(with_row_id=True).to_pydict()
    return read.take([2])["name"].to_pylist(), dict(zip(ids["name"], ids["_rowid"]))


before, ids_before = rows()
data.update({"label": "1"}, where="name = 'picture 2'")
after, ids_after = rows()
print(f"pylance {lance.__version__}: take([2]) is {before} before, {after} after picture 2 got another label")
print(f"row ids before {ids_before}")
print(f"row ids after  {ids_after}")
assert before == ["picture 2"] and after == ["picture 3"]
assert list(ids_after)[-1] == "picture 2" and ids_after["picture 2"] != ids_before["picture 2"]
PYTHON_CODE
