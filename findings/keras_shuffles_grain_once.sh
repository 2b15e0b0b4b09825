#!/usr/bin/env bash
# One would guess: image_dataset_from_directory(shuffle=True), its default, gives the pictures in another order in each epoch, in whichever format they come: fit() with format="grain", which needs no TensorFlow, trains as with format="tf".
# True:            as grain they come in one order, drawn when the set is made, in all epochs, with or without a seed: every batch holds the same pictures to the end of the training. As tf the order is another one in each.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet keras==3.15.1 tensorflow-cpu==2.21.0 grain==0.2.18 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat > epochs.py <<'PYTHON_CODE'
import os
from importlib.metadata import version

import keras
import numpy as np
from PIL import Image

EPOCHS, CLASSES = 3, 60
# One picture to a class, so that its label tells which picture it is.
for number in range(CLASSES):
    os.makedirs(f"photos/{number:02}")
    Image.new("RGB", (8, 8)).save(f"photos/{number:02}/photo.png")


def batches_of_each_epoch(form, **options):
    data = keras.utils.image_dataset_from_directory("photos", image_size=(8, 8), batch_size=10, format=form, verbose=False, **options)
    seen = []

    def loss(labels, outputs):
        seen.append(tuple(int(label) for label in keras.ops.convert_to_numpy(labels).ravel()))
        return keras.ops.mean(outputs)

    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss=loss, run_eagerly=True)
    model.fit(data, epochs=EPOCHS, verbose=0)
    assert sorted(sum(seen, ())) == sorted(list(range(CLASSES)) * EPOCHS)
    return [seen[first : first + CLASSES // 10] for first in range(0, len(seen), CLASSES // 10)]


print(f"keras {keras.__version__}, grain {version('grain')}, backend {keras.backend.backend()}: fit() on 60 pictures, three epochs, shuffle=True")
for form in ("tf", "grain"):
    for options in ({}, {"seed": 1}):
        first, *others = batches_of_each_epoch(form, **options)
        alike = [other == first for other in others]
        print(f"format={form!r}, {options or 'no seed'}: first batch {list(first[0])}; later epochs in the same order: {alike}")
        assert list(np.concatenate(first)) != list(range(CLASSES)) and alike == [form == "grain"] * (EPOCHS - 1)
PYTHON_CODE
TF_CPP_MIN_LOG_LEVEL=3 "$PYTHON" -W ignore epochs.py
