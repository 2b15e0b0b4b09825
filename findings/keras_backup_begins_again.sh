#!/usr/bin/env bash
# One would guess: BackupAndRestore(save_freq=5) saves within the epoch, so that an interrupted fit goes on from the batch of the last backup.
# True:            it goes back to the beginning of the epoch with the weights and the step count of its middle; and interrupted again within that epoch, to the first one: 50 steps instead of 30, the last 20 after the schedule has ended, without a word.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet keras==3.15.1 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os
import warnings

os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np

warnings.filterwarnings("error", category=UserWarning)
BATCHES, EPOCHS = 10, 3


class Watch(keras.callbacks.Callback):
    def __init__(self, interrupt_after=None):
        super().__init__()
        self.interrupt_after, self.rates = interrupt_after, []

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))

    def on_train_batch_end(self, batch, logs=None):
        if len(self.rates) == self.interrupt_after:
            raise KeyboardInterrupt


def trained(save_freq, interruptions):
    """The steps that the optimizer has taken, and the learning rates of the last part of training."""
    for interrupt_after in (*interruptions, None):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.01, BATCHES * EPOCHS)), "mse")
        watch = Watch(interrupt_after)
        backup = keras.callbacks.BackupAndRestore(f"backup_{save_freq}_{len(interruptions)}", save_freq=save_freq)
        pictures = np.random.default_rng(0).normal(size=(4 * BATCHES, 4))
        try:
            model.fit(pictures, pictures[:, :1], batch_size=4, epochs=EPOCHS, verbose=0, callbacks=[backup, watch])
        except KeyboardInterrupt:
            continue
        return int(model.optimizer.iterations), watch.rates


print(f"Keras {keras.__version__}: {EPOCHS} epochs of {BATCHES} batches, a cosine of {EPOCHS * BATCHES} steps")
seen = {}
for save_freq, interruptions in ((5, ()), ("epoch", (17,)), (5, (17,)), (5, (17, 8))):
    steps, rates = trained(save_freq, interruptions)
    seen[save_freq, len(interruptions)] = steps
    idle = sum(rate < 1e-9 for rate in rates)
    print(f"save_freq={save_freq}, {len(interruptions)} interruptions: {steps} steps, {idle} of them with a rate of 0")
    assert idle == max(0, steps - 30)
assert seen == {(5, 0): 30, ("epoch", 1): 30, (5, 1): 35, (5, 2): 50}
PYTHON_CODE
