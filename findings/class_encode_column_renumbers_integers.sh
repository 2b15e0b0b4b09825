#!/usr/bin/env bash
# One would guess: class_encode_column leaves labels that are the integers 0 to 11 as they are.
# True:            it sorts them as words: 10 becomes 2, 2 becomes 4; from ten classes on, labels no longer mean what the source says.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import datasets

datasets.disable_progress_bars()
data = datasets.Dataset.from_dict({"label": list(range(12))}).class_encode_column("label")
after = data["label"][:]
print(f"datasets {datasets.__version__}: 0 … 11 become {after}, named {data.features['label'].names}")
assert after == [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3]
few = datasets.Dataset.from_dict({"label": list(range(10))}).class_encode_column("label")
print(f"0 … 9 become {few['label'][:]}")
assert few["label"][:] == list(range(10))
PYTHON_CODE
