#!/usr/bin/env bash
# One would guess: a photo is the same to Keras whether image_dataset_from_directory(image_size=(224, 224)) reads it, for training, or load_img(target_size=(224, 224)), for a prediction, as its own tutorials pair them.
# True:            the first resizes bilinearly, the second takes the nearest pixel: up to 107 levels apart. With interpolation="bilinear" load_img is antialiased, by Pillow, and the data set is not; and even at full size TensorFlow's JPEG decoder differs from Pillow's on 70 % of the values, up to 17 levels, by its default dct_method.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet keras==3.15.1 tensorflow-cpu==2.21.0 pillow==12.3.0 scikit-image==0.26.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat > read.py <<'PYTHON_CODE'
import os

import keras
import numpy as np
import skimage.data
import tensorflow as tf
from PIL import Image

names = ("astronaut", "coffee")
for name in names:
    os.makedirs(f"photos/{name}")
    Image.fromarray(getattr(skimage.data, name)()[:400, :400]).save(f"photos/{name}/photo.jpg", quality=95)
print(f"keras {keras.__version__}, tensorflow {tf.__version__}: two photos of 400 × 400, one by image_dataset_from_directory, one by load_img; levels of 255 apart")


def apart(title, pixels, others):
    away = np.abs(np.stack(pixels) - np.stack(others))
    print(f"{title}: greatest {away.max():.0f}, mean {away.mean():.1f}, more than half a level on {(away > 0.5).mean():.0%}")
    return away.max(), away.mean(), (away > 0.5).mean()


def data_set(side):
    data = keras.utils.image_dataset_from_directory("photos", image_size=(side, side), batch_size=2, shuffle=False, verbose=False)
    return next(iter(data))[0].numpy()


def loaded(**options):
    return [keras.utils.img_to_array(keras.utils.load_img(f"photos/{name}/photo.jpg", **options)) for name in names]


resized = apart("224 × 224, load_img as it is", data_set(224), loaded(target_size=(224, 224)))
bilinear = apart("224 × 224, load_img(interpolation='bilinear')", data_set(224), loaded(target_size=(224, 224), interpolation="bilinear"))
full = apart("400 × 400, not resized", data_set(400), loaded())
accurate = [tf.io.decode_jpeg(tf.io.read_file(f"photos/{name}/photo.jpg"), dct_method="INTEGER_ACCURATE").numpy().astype(float) for name in names]
exact = apart("400 × 400, TensorFlow's decoder with dct_method='INTEGER_ACCURATE'", accurate, loaded())
assert resized[0] > 80 and resized[1] > 3 and bilinear[0] > 40 and bilinear[1] > 1.5
assert full[0] >= 3 and full[2] > 0.3 and exact[0] == 0
PYTHON_CODE
TF_CPP_MIN_LOG_LEVEL=3 "$PYTHON" -W ignore read.py
