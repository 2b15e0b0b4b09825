#!/usr/bin/env bash
# One would guess: of equal values ONNX's TopK gives the lower index first, as its specification says, in every runtime.
# True:            OpenVINO gives any of them: the first of its five is not ArgMax's class, and not ONNX Runtime's. With 16-bit or 8-bit logits, ties are common.
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
from onnx import TensorProto, helper, numpy_helper

taken = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 1000])
five = helper.make_tensor_value_info("five", TensorProto.INT64, None)
best = helper.make_tensor_value_info("best", TensorProto.INT64, None)
nodes = [
    helper.make_node("TopK", ["logits", "k"], ["values", "five"], sorted=1),
    helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
]
graph = helper.make_graph(nodes, "top", [taken], [five, best], [numpy_helper.from_array(np.array([5]), "k")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
logits = np.random.default_rng(0).integers(0, 8, (64, 1000)).astype(np.float32)
expected = np.argsort(-logits, axis=1, kind="stable")[:, :5]
core = openvino.Core()
compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([logits])
answers = {
    f"onnxruntime {onnxruntime.__version__}": onnxruntime.InferenceSession(model).run(None, {"logits": logits}),
    f"OpenVINO {openvino.__version__.split('-')[0]}": [compiled[0], compiled[1]],
}
print("64 rows of 1000 logits of eight values: rows whose five are those with the lowest indices; whose first is ArgMax")
counts = []
for name, (classes, argmax) in answers.items():
    assert (np.take_along_axis(logits, classes, 1) == 7).all()
    counts.append(((classes == expected).all(1).sum(), (classes[:, 0] == argmax).sum()))
    print(f"{name}: {counts[-1][0]}, {counts[-1][1]}; the first row {classes[0].tolist()}, ArgMax {argmax[0]}")
assert counts[0] == (64, 64) and counts[1][0] < 32 and counts[1][1] < 64
PYTHON_CODE
