#!/usr/bin/env bash
# One would guess: datasets' map computes again when the function has changed, as its documentation says of its fingerprint.
# True:            a function that is imported counts by its name: edit its module, run again, and map gives the stored results of the old code.
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
import os
import pathlib
import subprocess
import sys

os.environ.update(HF_HOME=os.getcwd(), HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", PYTHONDONTWRITEBYTECODE="1")
pathlib.Path("rows.jsonl").write_text('{"pixels": 1}\n{"pixels": 2}\n')
pathlib.Path("main.py").write_text("""
import datasets
from preparation import scale

def here(row):
    return {"scaled": row["pixels"] * FACTOR}

rows = datasets.load_dataset("json", data_files="rows.jsonl", split="train")
print(datasets.__version__, rows.map(scale)["scaled"][:], rows.map(here)["scaled"][:])
""")
main = pathlib.Path("main.py").read_text()
seen = []
for factor in (10, 100):
    pathlib.Path("preparation.py").write_text(f"def scale(row):\n    return {{'scaled': row['pixels'] * {factor}}}\n")
    pathlib.Path("main.py").write_text(main.replace("FACTOR", str(factor)))
    answer = subprocess.run([sys.executable, "main.py"], capture_output=True, text=True, check=True).stdout.strip()
    version, answer = answer.split(" ", 1)
    seen.append(answer)
    print(f"datasets {version}, factor {factor}: by the imported function and by one of the script {answer}")
assert seen == ["[10, 20] [10, 20]", "[10, 20] [100, 200]"]
PYTHON_CODE
