#!/usr/bin/env bash
# One would guess: onnx.version_converter keeps what a file computes: where an operator's meaning changed between two opsets, it writes the old one down, as it does for Softmax.
# True:            not for Resize of opset 10 and Upsample: from 11 on they take half_pixel coordinates where they took asymmetric ones, and the converted file takes other pixels, half a one further in a picture that is halved. Nearest by two agrees. The checker and shape inference find nothing.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def built(operator, opset, scale, **attributes):
    """One operator on pictures of one row of eight pixels, which is made shorter or longer."""
    sizes = {"pixels": [1, 1, 1, 8], "result": [1, 1, 1, int(8 * scale)]}
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in sizes.items()]
    scales = numpy_helper.from_array(np.array([1, 1, 1, scale], np.float32), "scales")
    node = helper.make_node(operator, ["pixels", "scales"] if operator != "Softmax" else ["pixels"], ["result"], **attributes)
    graph = helper.make_graph([node], "graph", info[:1], info[1:], [scales] if operator != "Softmax" else [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model):
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"pixels": 10 * np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8)})[0].ravel()


print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}: the pixels 0, 10 … 70")
for operator, opset, scale, mode, moved in (
    ("Upsample", 9, 2, "linear", True),
    ("Upsample", 9, 2, "nearest", False),
    ("Resize", 10, 0.5, "linear", True),
    ("Resize", 10, 0.5, "nearest", False),
    ("Resize", 10, 0.25, "nearest", True),
):
    old = built(operator, opset, scale, mode=mode)
    there, here = run(old), run(onnx.version_converter.convert_version(old, 21))
    print(f"{operator} of opset {opset}, {mode}, × {scale}: {there.astype(int)}; in opset 21 {here.astype(int)}")
    assert np.allclose(there, here) != moved
# What it does keep: the axes of Softmax, which were flattened up to opset 12.
old = built("Softmax", 11, 1, axis=1)
assert np.allclose(run(old), run(onnx.version_converter.convert_version(old, 21)))
PYTHON_CODE
