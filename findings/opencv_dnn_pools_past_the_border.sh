#!/usr/bin/env bash
# One would guess: OpenCV's dnn module gives for an ONNX file what ONNX Runtime gives, or refuses what it does not know.
# True:            PyTorch's AvgPool2d(2, 2, ceil_mode=True), as in the short cuts of some ResNets, counts pixels past the border of an odd size, as zeros; Resize with antialias=1 is done without it. Neither says a word.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

pixels = np.random.default_rng(0).uniform(1, 2, (1, 3, 15, 15)).astype(np.float32)


def far(operation, size, inputs=("pixels",), constants=(), **attributes):
    node = helper.make_node(operation, list(inputs), ["out"], **attributes)
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, n, n]) for name, n in (("pixels", 15), ("out", size))]
    graph = helper.make_graph([node], "graph", info[:1], info[1:], list(constants))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), "model.onnx")
    wanted = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"]).run(None, {"pixels": pixels})[0]
    network = cv2.dnn.readNetFromONNX("model.onnx")
    network.setInput(pixels)
    return float(np.abs(network.forward() - wanted).max())


size = numpy_helper.from_array(np.array([1, 3, 7, 7]), "size")
resize = {"size": 7, "inputs": ("pixels", "", "", "size"), "constants": [size], "mode": "linear"}
pool = {"kernel_shape": [2, 2], "strides": [2, 2], "count_include_pad": 1}
found = {
    "AveragePool": far("AveragePool", 7, **pool),
    "AveragePool, ceil_mode": far("AveragePool", 8, ceil_mode=1, **pool),
    "Resize": far("Resize", **resize),
    "Resize, antialias": far("Resize", antialias=1, **resize),
}
print(f"OpenCV {cv2.__version__}, ONNX Runtime {onnxruntime.__version__}: values from 1 to 2, how far the two are apart")
for name, value in found.items():
    print(f"{name}: {value:.2g}")
assert all((value > 0.1) == ("," in name) for name, value in found.items())
PYTHON_CODE
