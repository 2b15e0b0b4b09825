#!/usr/bin/env bash
# One would guess: image_dataset_from_directory(validation_split=0.2, shuffle=False) holds out a fifth of each class, or refuses; shuffle says in what order batches come.
# True:            it cuts the sorted list of files: of five classes the last one alone is validated on, and is never trained, without a word. With shuffle=True the cut is at random.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet keras==3.15.1 torch==2.14.1 grain==0.2.18 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import collections
import os
import warnings

os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
from PIL import Image

for name in ("ant", "bee", "cat", "dog", "elk"):
    os.makedirs(f"pictures/{name}")
    for number in range(20):
        Image.new("RGB", (8, 8)).save(f"pictures/{name}/{number}.png")


def labels_of(subset, shuffle):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        pictures = keras.utils.image_dataset_from_directory(
            "pictures", validation_split=0.2, subset=subset, shuffle=shuffle, seed=0, image_size=(8, 8), batch_size=10, format="grain"
        )
    return collections.Counter(int(label) for _, labels in pictures for label in np.asarray(labels))


print(f"Keras {keras.__version__}, 20 pictures of each of five classes")
for shuffle in (False, True):
    parts = [labels_of(subset, shuffle) for subset in ("training", "validation")]
    print(f"shuffle={shuffle}: trained {sorted(parts[0].items())}, validated {sorted(parts[1].items())}")
    assert sum(parts[0].values()) == 80 and sum(parts[1].values()) == 20
    assert set(parts[1]) == ({4} if not shuffle else set(range(5))) and (4 in parts[0]) == shuffle
PYTHON_CODE
