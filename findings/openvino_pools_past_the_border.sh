#!/usr/bin/env bash
# One would guess: ceil_mode pools alike in PyTorch, ONNX Runtime and OpenVINO: a window that begins in the padding at the end is left out, and what lies past the padding is not counted.
# True:            OpenVINO keeps such a window, a row and column more, and counts what lies past the padding in an average: other shapes and other values, without a word.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper

core = openvino.Core()
print(f"onnxruntime {onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]}, opset 22, all pixels 1, padding 1, ceil_mode 1")


def pooled(operator, size, kernel, stride, **more):
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, size, size])
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [1] * 4, "ceil_mode": 1}
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], **shape, **more)], "pool", [taken], [given])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10).SerializeToString()
    pixels = np.ones((1, 1, size, size), np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it says that the shape it was told by onnx's inference is another one
    there = onnxruntime.InferenceSession(model, options).run(None, {"x": pixels})[0]
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return there[0, 0], compiled([pixels])[0][0, 0]


there, here = pooled("MaxPool", size=8, kernel=3, stride=3)
print(f"MaxPool of 8 × 8, kernel 3, stride 3: ONNX Runtime {there.shape}, OpenVINO {here.shape}")
assert there.shape == (3, 3) and here.shape == (4, 4)
there, here = pooled("AveragePool", size=6, kernel=3, stride=2, count_include_pad=1)
print(f"AveragePool of 6 × 6, kernel 3, stride 2, count_include_pad: last row {there[-1].round(3)}, {here[-1].round(3)}")
# The last window holds one pixel and, within the padding, three places more: 1/4 (of nine places, 1/9).
assert there.shape == here.shape and np.isclose(there[-1, -1], 1 / 4) and not np.isclose(here[-1, -1], 1 / 4)
PYTHON_CODE
