#!/usr/bin/env bash
# One would guess: a network with a weight or a pixel that is NaN answers NaN, as it does in PyTorch and ONNX Runtime, so that nobody takes it for sound.
# True:            in OpenVINO on a CPU, the ReLU behind it makes it 0: finite logits and a class, as from a healthy network.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
CI=true "$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

core = openvino.Core()
rng = np.random.default_rng(0)
weights = {"W": rng.normal(0, 0.3, (8, 3, 3, 3)), "V": rng.normal(0, 0.2, (8, 8, 3, 3)), "H": rng.normal(0, 1, (5, 8))}
pixels = rng.normal(0, 1, (1, 3, 12, 12)).astype(np.float32)


def logits(weights, pixels):
    nodes = [
        helper.make_node("Conv", ["pixels", "W"], ["a"]), helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Conv", ["b", "V"], ["c"]), helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]), helper.make_node("Flatten", ["e"], ["f"]), helper.make_node("Gemm", ["f", "H"], ["logits"], transB=1),
    ]  # fmt: skip
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("pixels", [1, 3, 12, 12]), ("logits", [1, 5]))]
    graph = helper.make_graph(nodes, "classifier", info[:1], info[1:], [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {"ONNX Runtime": onnxruntime.InferenceSession(model).run(None, {"pixels": pixels})[0][0], "OpenVINO": compiled([pixels])[0][0]}


print(f"ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]}")
sound = logits(weights, pixels)
assert all(np.allclose(of, sound["ONNX Runtime"], atol=1e-4) for of in sound.values())
broken = {name: of.copy() for name, of in weights.items()}
broken["W"][2, 0, 1, 1] = np.nan
spoilt = pixels.copy()
spoilt[0, 1, 5, 5] = np.nan
for what, found in {"sound": sound, "one weight is NaN": logits(broken, pixels), "one pixel is NaN": logits(weights, spoilt)}.items():
    print(f"{what}: { {name: str(of.round(2)) for name, of in found.items()} }")
    if what != "sound":
        assert np.isnan(found["ONNX Runtime"]).all() and np.isfinite(found["OpenVINO"]).all()
PYTHON_CODE
