#!/usr/bin/env bash
# One would guess: Keras' AugMix in a tf.data pipeline, for which its documentation calls it safe, chooses operations anew for each batch, if not each picture, and its seed makes that repeatable.
# True:            it chooses with Python's random while the pipeline is traced, once: all pictures of all epochs get the same operations, posterize say, or none at all, and the next run gets others, whatever the seed. Called without a graph it chooses for each batch. RandAugment chooses in the graph, once for each batch.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat > draws.py <<'PYTHON_CODE'
import keras
import numpy as np
import tensorflow as tf

# Shear, shift and rotation leave a flat grey as it is; brightness, contrast, posterize and solarize do not.
GREY = np.full((32, 16, 16, 3), 100, np.float32)
BATCHES, PIPELINES = 40, 10
keras.utils.set_random_seed(0)


def changed(batch):
    return int((np.abs(np.asarray(batch) - 100) > 0.5).any(axis=(1, 2, 3)).sum())


def in_pipeline(layer):
    data = tf.data.Dataset.from_tensors(GREY).repeat(BATCHES).map(lambda batch: layer(batch, training=True))
    return [changed(batch) for batch in data]


def batches_changed(counts):
    return sum(count > 0 for count in counts)


def augmix():
    return keras.layers.AugMix(num_chains=1, chain_depth=1, seed=1)


print(f"keras {keras.__version__}, tensorflow {tf.__version__}: AugMix of one operation on {BATCHES} batches of 32 grey pictures; batches in which a colour has changed")
layer = augmix()
called = batches_changed([changed(layer(GREY, training=True)) for _ in range(BATCHES)])
piped = [batches_changed(in_pipeline(augmix())) for _ in range(PIPELINES)]
by_randaugment = in_pipeline(keras.layers.RandAugment(num_ops=1, seed=1))
print(f"called: {called}\nin {PIPELINES} pipelines with the same seed: {piped}\nRandAugment in a pipeline: {batches_changed(by_randaugment)}")
print(f"RandAugment, pictures changed in each batch of 32: {by_randaugment}")
assert 5 < called < BATCHES - 5 and 5 < batches_changed(by_randaugment) < BATCHES - 5
# A posterized or brightened grey can by chance be the same again, so a batch or two of "all" may be missing.
assert all(count == 0 or count > BATCHES - 8 for count in piped) and min(piped) == 0 and max(piped) > BATCHES - 8
PYTHON_CODE
TF_CPP_MIN_LOG_LEVEL=3 "$PYTHON" -W ignore draws.py
