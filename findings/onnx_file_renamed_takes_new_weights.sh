#!/usr/bin/env bash
# One would guess: a file of torch.onnx.export that was renamed, from model.onnx to best.onnx, is the network that it was; or it no longer opens, since its weights lie in a file beside it.
# True:            it looks for its large weights in model.onnx.data, whatever it is called: once another network was exported as model.onnx, best.onnx opens with that one's large weights and its own small ones, which lie within: neither network, without a word. external_data=False keeps all in one file.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W ignore - 2>errors <<'PYTHON_CODE' || { cat errors; exit 1; }
import os

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1000)).eval()


def export(model, path, **options):
    torch.onnx.export(model, (pixels,), path, input_names=["pixels"], verbose=False, **options)


def logits(path):
    onnx.checker.check_model(path, full_check=True)
    return onnxruntime.InferenceSession(path).run(None, {"pixels": pixels.numpy()})[0]


def names(path):
    return [initializer.name for initializer in onnx.load(path, load_external_data=False).graph.initializer if initializer.data_location == onnx.TensorProto.EXTERNAL]


pixels = torch.rand(1, 3, 32, 32)
first, second = network(0), network(1)
with torch.no_grad():
    there = {"first": first(pixels).numpy(), "second": second(pixels).numpy()}
print(f"torch {torch.__version__}, onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}")
for options in ({}, {"external_data": False}):
    for file in os.listdir("."):
        if file.startswith(("model", "best")):
            os.remove(file)
    export(first, "model.onnx", **options)
    assert np.allclose(logits("model.onnx"), there["first"], atol=1e-5)
    os.rename("model.onnx", "best.onnx")
    export(second, "model.onnx", **options)
    far = {name: float(np.abs(logits("best.onnx") - values).max()) for name, values in there.items()}
    files = sorted(file for file in os.listdir(".") if file.startswith(("model", "best")))
    print(f"{options or 'by default'}: {', '.join(files)}; outside of best.onnx lie {names('best.onnx')}")
    print(f"  best.onnx opens; its logits are {far['first']:.3f} from the first network's and {far['second']:.3f} from the second's")
    assert (far["first"] < 1e-5) == bool(options) and far["second"] > 0.01
PYTHON_CODE
