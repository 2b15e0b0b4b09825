#!/usr/bin/env bash
# One would guess: torch.onnx.export puts a model into evaluation mode while it exports, as the exporter before did, or keeps all of training mode.
# True:            half of each: BatchNorm becomes that of evaluation, Dropout stays on, so the file answers otherwise each time; a warning, not which.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import copy

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

torch.manual_seed(0)
images = torch.randn(4, 3, 8, 8)
# As a model looks that somebody exports right after an epoch.
network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
network.train()(images)
dropping = nn.Sequential(network, nn.Dropout(0.5))


def answers(model, name):
    torch.onnx.export(model.train(), (images,), name, verbose=False)
    assert model.training
    session = onnxruntime.InferenceSession(name)
    feed = {session.get_inputs()[0].name: images.numpy()}
    return [session.run(None, feed)[0] for _ in range(2)]


expected = {mode: copy.deepcopy(network).train(mode)(images).detach().numpy() for mode in (True, False)}
first, second = answers(network, "network.onnx")
print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}: exported in training mode")
far = {mode: np.abs(first - output).max() for mode, output in expected.items()}
print(f"BatchNorm: {far[True]:.4f} from training mode, {far[False]:.4f} from evaluation mode; two runs equal: {(first == second).all()}")
one, two = answers(dropping, "dropping.onnx")
print(f"with Dropout: {[node.op_type for node in onnx.load('dropping.onnx').graph.node]}; two runs equal: {(one == two).all()}")
assert not (one == two).all() and far[False] < 1e-4 < far[True]
PYTHON_CODE
