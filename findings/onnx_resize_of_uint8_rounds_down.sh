#!/usr/bin/env bash
# One would guess: a Resize of uint8 in an ONNX file gives the nearest levels of what it gives in floats.
# True:            ONNX Runtime cuts off what is behind the point: half a level darker on average, every picture. With antialias=1 it rounds; OpenVINO always does.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 openvino==2026.4.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 120, 160), dtype=np.uint8)


def resized(antialias, kind, pixels, runtime):
    node = helper.make_node("Resize", ["pixels", "", "", "size"], ["out"], mode="linear", antialias=antialias)
    info = [helper.make_tensor_value_info(name, kind, [1, 3, *size]) for name, size in (("pixels", [120, 160]), ("out", [77, 101]))]
    graph = helper.make_graph([node], "graph", info[:1], info[1:], [numpy_helper.from_array(np.array([1, 3, 77, 101]), "size")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(model, "model.onnx")
    if runtime == "OpenVINO":
        network = openvino.Core().compile_model("model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return next(iter(network(pixels).values()))
    return onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"]).run(None, {"pixels": pixels})[0]


print(f"ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]}: 160 × 120 to 101 × 77, uint8 less floats")
means = {}
for runtime, antialias in (("ONNX Runtime", 0), ("ONNX Runtime", 1), ("OpenVINO", 0)):
    floats = resized(antialias, TensorProto.FLOAT, pixels.astype(np.float32), runtime)
    levels = resized(antialias, TensorProto.UINT8, pixels, runtime)
    means[runtime, antialias] = float((levels - floats).mean())
    print(f"{runtime}, antialias {antialias}: {means[runtime, antialias]:+.3f} on average, {np.mean(levels == np.floor(floats)):.0%} rounded down")
assert -0.52 < means["ONNX Runtime", 0] < -0.48
assert abs(means["ONNX Runtime", 1]) < 0.05 and abs(means["OpenVINO", 0]) < 0.05
PYTHON_CODE
