#!/usr/bin/env bash
# One would guess: a Checkpoint handler that keeps the best model replaces one whose metric is NaN as soon as another has a number.
# True:            nothing is greater than NaN: if the first evaluation gives NaN, that model stays the best and no better one is ever stored; with n_saved=2 the second evaluation takes the other place, and then none is either.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pytorch-ignite==0.5.5 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import os

import ignite
import torch
from ignite.engine import Engine
from ignite.handlers import Checkpoint, DiskSaver

nan = float("nan")


def kept(accuracies, places):
    folder = f"kept_{places}_{len(accuracies)}_{accuracies[0]}"
    handler = Checkpoint(
        {"model": torch.nn.Linear(1, 1)},
        DiskSaver(folder, create_dir=True),
        n_saved=places,
        score_function=lambda engine: engine.state.metrics["accuracy"],
        score_name="accuracy",
        global_step_transform=lambda engine, event: engine.state.iteration,
    )
    evaluator = Engine(lambda engine, batch: None)
    for step, accuracy in enumerate(accuracies):
        evaluator.state.iteration, evaluator.state.metrics = step, {"accuracy": accuracy}
        handler(evaluator)
    return sorted(os.listdir(folder))


print(f"ignite {ignite.__version__}: checkpoints that are left")
for places in (1, 2):
    files = kept([nan, 0.5, 0.7, 0.6], places)
    print(f"accuracies NaN, 0.5, 0.7, 0.6, n_saved={places}: {files}")
    assert files == ["model_0_accuracy=nan.pt", "model_1_accuracy=0.5000.pt"][:places]
files = kept([0.1, 0.5, 0.7, 0.6], 1)
print(f"accuracies 0.1, 0.5, 0.7, 0.6, n_saved=1: {files}")
assert files == ["model_2_accuracy=0.7000.pt"]
PYTHON_CODE
