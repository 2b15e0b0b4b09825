#!/usr/bin/env bash
# One would guess: onnx2torch.convert of an ONNX file for inference, whose BatchNorm and Dropout are those of evaluation as the standard has it, gives a module that answers as the file does.
# True:            the module is in training mode: Dropout draws, BatchNorm takes the batch's statistics, so a picture's class depends on the others, and each forward pass moves the file's own statistics by a tenth: after eval() it answers otherwise still. Call eval() before the first picture.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet onnx2torch==1.5.15 torch==2.14.1 torchvision==0.29.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W ignore - <<'PYTHON_CODE'
from importlib.metadata import version

import numpy as np
import onnx
import onnx2torch
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)
# Pictures of other colours and contrasts; the statistics in the file are right for them.
pixels = (rng.normal(size=(64, 3, 16, 16)) * rng.uniform(0.2, 2, (64, 1, 1, 1)) + rng.normal(size=(64, 3, 1, 1))).astype(np.float32)
kernels = rng.normal(0, 0.3, (16, 3, 3, 3)).astype(np.float32)
maps = torch.nn.functional.conv2d(torch.from_numpy(pixels), torch.from_numpy(kernels))
weights = {
    "kernels": kernels, "scale": np.ones(16, np.float32), "bias": np.zeros(16, np.float32), "mean": maps.mean((0, 2, 3)).numpy(), "var": maps.var((0, 2, 3)).numpy(),
    "head": rng.normal(size=(10, 16)).astype(np.float32),
}  # fmt: skip
nodes = [
    helper.make_node("Conv", ["pixels", "kernels"], ["a"]), helper.make_node("BatchNormalization", ["a", "scale", "bias", "mean", "var"], ["b"], training_mode=0),
    helper.make_node("Relu", ["b"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["d"]), helper.make_node("Flatten", ["d"], ["e"]), helper.make_node("Gemm", ["e", "head"], ["logits"], transB=1),
]  # fmt: skip
info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("pixels", ["n", 3, 16, 16]), ("logits", ["n", 10]))]
graph = helper.make_graph(nodes, "classifier", info[:1], info[1:], [numpy_helper.from_array(values, name) for name, values in weights.items()])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
there = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"pixels": pixels})[0]


@torch.no_grad()
def one_by_one(network):
    return np.concatenate([network(picture[None]).numpy() for picture in torch.from_numpy(pixels)])


def compare(what, logits):
    far, same = float(abs(logits - there).max()), float((logits.argmax(1) == there.argmax(1)).mean())
    print(f"{what}: up to {far:.4f} from ONNX Runtime's logits, {same:.0%} of the classes are the same")
    return far, same


print(f"onnx2torch {version('onnx2torch')}, torch {torch.__version__}, onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}")
network = onnx2torch.convert(model)
assert network.training
far, same = compare("as converted, one picture at a time", one_by_one(network))
assert far > 0.5 and same < 0.95
far, same = compare("the same one, after eval()", one_by_one(network.eval()))
assert far > 0.05
far, same = compare("converted anew, eval() at once", one_by_one(onnx2torch.convert(model).eval()))
assert far < 1e-4 and same == 1
PYTHON_CODE
