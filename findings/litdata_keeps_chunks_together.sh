#!/usr/bin/env bash
# One would guess: litdata's train_test_split and shuffle=True mix all the pictures, whatever order they were stored in.
# True:            a chunk goes to one side whole, and is read to its end before the next: of classes stored one after the other, the test has some only, and a batch has one.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet litdata==0.2.76 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os
from collections import Counter

os.environ["LITDATA_CACHE_DIR"] = os.getcwd()
os.environ["DATA_OPTIMIZER_CACHE_FOLDER"] = os.path.join(os.getcwd(), "cache")
os.environ["DATA_OPTIMIZER_DATA_CACHE_FOLDER"] = os.path.join(os.getcwd(), "data")
import litdata
from litdata.processing.functions import optimize
from litdata.streaming.cache import Cache

writer = Cache("stored", chunk_size=50)
for number in range(1000):
    writer[number] = {"number": number, "label": number // 100}
writer.done()
writer.merge()
data = litdata.StreamingDataset("stored", shuffle=True, seed=0)
_, test = litdata.train_test_split(data, [0.8, 0.2])
labels = Counter(int(row["label"]) for row in test)
order = [int(row["label"]) for row in data]
batches = [order[first : first + 50] for first in range(0, 1000, 50)]
print(f"litdata {litdata.__version__}, 1000 pictures of ten classes in order, chunks of 50")
print(f"a test split of 200: pictures of each class {dict(sorted(labels.items()))}")
print(f"shuffle=True: classes in each batch of 50 {[len(set(batch)) for batch in batches]}")
assert sum(labels.values()) == 200 and set(labels.values()) <= {50, 100} and len(labels) <= 4
assert all(len(set(batch)) == 1 for batch in batches)
PYTHON_CODE
