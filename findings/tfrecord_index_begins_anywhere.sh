#!/usr/bin/env bash
# One would guess: tfrecord's index file, which its README asks for where there are workers, lets them share the file; one process reads it in its order with or without an index.
# True:            with an index, one process (no workers) begins each pass at a record of NumPy's choice and goes round: the predictions that are listed in the file's order belong to other pictures, in each pass to others. Without an index, and with workers, the order is the file's.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet tfrecord==1.14.6 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
from importlib.metadata import version

import numpy as np
import tfrecord
from tfrecord.tools import tfrecord2idx

writer = tfrecord.TFRecordWriter("photos.tfrecord")
for number in range(100):
    writer.write({"number": (number, "int")})
writer.close()
tfrecord2idx.create_index("photos.tfrecord", "photos.index")


def passes(index, shard=None):
    """The numbers of the photos in four passes over the file. The datasets for PyTorch give a worker's share as `shard`."""
    return [[int(row["number"][0]) for row in tfrecord.tfrecord_loader("photos.tfrecord", index, shard=shard)] for _ in range(4)]


np.random.seed(0)
print(f"tfrecord {version('tfrecord')}: the first of 100 photos in four passes")
orders = {
    "no index": passes(None),
    "an index": passes("photos.index"),
    "an index, one worker": passes("photos.index", (0, 1)),
    "an index, the second of two workers": passes("photos.index", (1, 2)),
}
for name, found in orders.items():
    print(f"{name}: {[order[0] for order in found]}")
in_order = list(range(100))
assert orders["no index"] == orders["an index, one worker"] == [in_order] * 4
assert orders["an index, the second of two workers"] == [in_order[50:]] * 4
for order in orders["an index"]:
    assert order == in_order[order[0] :] + in_order[: order[0]]
assert len({order[0] for order in orders["an index"]}) > 1
PYTHON_CODE
