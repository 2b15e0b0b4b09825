#!/usr/bin/env bash
# One would guess: skorch's NeuralNetClassifier shuffles what it trains on in each epoch, as scikit-learn's MLPClassifier and most training loops do.
# True:            its loaders keep the order, unless iterator_train__shuffle=True: of pictures sorted by class, as folders give them, each batch has one class, and with BatchNorm the network that results knows next to nothing.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet skorch==1.4.0 scikit-learn==1.9.1 torch==2.15.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import numpy as np
import skorch
import torch
from skorch import NeuralNetClassifier
from torch import nn

warnings.simplefilter("ignore", FutureWarning)
CLASSES, EACH = 5, 100
rng = np.random.default_rng(0)
labels = np.repeat(np.arange(CLASSES), EACH)  # as folders of classes give them
pictures = rng.normal(size=(len(labels), 1, 8, 8)).astype(np.float32)
pictures[np.arange(len(labels)), 0, labels, labels] += 6
batches = []


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, CLASSES))

    def forward(self, images):
        return self.layers(images)


class Loss(nn.CrossEntropyLoss):
    def forward(self, logits, truth):
        if torch.is_grad_enabled():
            batches.append(len(set(truth.tolist())))
        return super().forward(logits, truth)


print(f"skorch {skorch.__version__}: {EACH} pictures of each of {CLASSES} classes, in their order")
accuracies = []
for settings in ({}, {"iterator_train__shuffle": True}):
    torch.manual_seed(0)
    batches.clear()
    net = NeuralNetClassifier(Net, criterion=Loss, optimizer=torch.optim.SGD, lr=0.1, max_epochs=10, batch_size=40, verbose=0, **settings)
    net.fit(pictures, labels)
    accuracies.append((net.predict(pictures) == labels).mean())
    print(f"{settings or 'as it comes'}: classes in a batch {np.mean(batches):.1f}, accuracy after ten epochs {accuracies[-1]:.2f}")
assert accuracies[0] < 0.6 and accuracies[1] > 0.9
PYTHON_CODE
