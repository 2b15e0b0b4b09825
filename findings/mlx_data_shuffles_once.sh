#!/usr/bin/env bash
# One would guess: a training stream made by shuffle().to_stream() and reset() after each epoch comes in a new order each epoch.
# True:            the order is drawn when shuffle is called, so each epoch has the first one's; a random flip after it is drawn anew, which hides it.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet mlx-data==0.1.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
from importlib.metadata import version

import mlx.data
import numpy as np

pictures = mlx.data.buffer_from_vector([{"index": index, "image": np.zeros((2, 2, 3), np.uint8) + np.uint8([[[0], [9]]])} for index in range(1000)])
stream = pictures.shuffle().to_stream().image_random_h_flip("image", 0.5).batch(50)
orders, flips = [], []
for _ in range(3):
    epoch = list(stream)
    orders.append([int(index) for batch in epoch for index in batch["index"]])
    flips.append([bool(image[0, 0, 0]) for batch in epoch for image in batch["image"]])
    stream.reset()
again = [int(row["index"]) for row in pictures.shuffle()]
print(f"mlx-data {version('mlx-data')}: three epochs of one stream begin", *(order[:5] for order in orders))
print(f"flips of the first two epochs differ for {np.mean(np.array(flips[0]) != flips[1]):.0%}; another shuffle() begins {again[:5]}")
assert orders[0] == orders[1] == orders[2] != again and sorted(orders[0]) == list(range(1000))
assert flips[0] != flips[1]
PYTHON_CODE
