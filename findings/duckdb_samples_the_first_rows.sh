#!/usr/bin/env bash
# One would guess: USING SAMPLE 8 (reservoir sampling) gives eight rows from anywhere in the table.
# True:            up to some twenty rows are drawn from nearly the first 20,480 alone: of a table in the order of its classes, one class is all that is seen.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet duckdb==2.0.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import duckdb

connection = duckdb.connect()
connection.execute("CREATE TABLE pictures AS SELECT range AS place, range // 50000 AS label FROM range(1000000)")
print(f"duckdb {duckdb.__version__}, a million rows, 20 classes one after the other, 50 samples of each size")
means, classes = {}, {}
for rows in (8, 1000):
    query = f"SELECT place, label FROM pictures USING SAMPLE {rows} ROWS"
    samples = [connection.execute(query).fetchnumpy() for _ in range(50)]
    means[rows] = sum(float(sample["place"].mean()) for sample in samples) / len(samples)
    classes[rows] = sorted({int(label) for sample in samples for label in sample["label"]})
    print(f"{rows} rows: mean place {means[rows]:,.0f}, classes {classes[rows]}")
assert means[8] < 50_000 and len(classes[8]) < 10
assert 450_000 < means[1000] < 550_000 and len(classes[1000]) == 20
PYTHON_CODE
