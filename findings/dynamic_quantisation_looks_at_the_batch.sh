#!/usr/bin/env bash
# One would guess: a network in evaluation mode says of a picture what it says whichever others are in the batch, quantised or not.
# True:            quantize_dynamic of ONNX Runtime takes the scale of each layer's input from the whole batch: beside one picture of strong contrast the others are left a few levels, and their classes change. By quantize_static, and alone, they do not.
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
"$PYTHON" - 2>errors <<'PYTHON_CODE' || { cat errors; exit 1; }
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static

rng = np.random.default_rng(0)
weights = {"W0": rng.normal(0, 0.25, (32, 3, 3, 3))} | {f"W{i}": rng.normal(0, 0.08, (32, 32, 3, 3)) for i in (1, 2, 3)} | {"H": rng.normal(0, 1, (100, 32))}
nodes = []
for i in range(4):
    nodes += [helper.make_node("Conv", [f"x{i}" if i else "pixels", f"W{i}"], [f"c{i}"], strides=[2, 2], pads=[1] * 4), helper.make_node("Relu", [f"c{i}"], [f"x{i + 1}"])]
nodes += [helper.make_node("GlobalAveragePool", ["x4"], ["a"]), helper.make_node("Flatten", ["a"], ["b"]), helper.make_node("Gemm", ["b", "H"], ["logits"], transB=1)]
info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("pixels", ["n", 3, 32, 32]), ("logits", ["n", 100]))]
graph = helper.make_graph(nodes, "classifier", info[:1], info[1:], [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), "float32.onnx")

# 31 pale pictures, as of fog, and one of black and white; both within what pixels may be after normalisation.
pale = rng.uniform(-0.3, 0.3, (31, 3, 32, 32)).astype(np.float32)
strong = np.where(rng.random((1, 3, 32, 32)) < 0.5, -2.1, 2.6).astype(np.float32)
batch = np.concatenate([pale, strong])


class Pictures(CalibrationDataReader):
    def __init__(self):
        self.pictures = iter(batch[:, None])

    def get_next(self):
        picture = next(self.pictures, None)
        return None if picture is None else {"pixels": picture}


quantize_dynamic("float32.onnx", "dynamic.onnx")
quantize_static("float32.onnx", "static.onnx", Pictures(), per_channel=True)
print(f"onnxruntime {onnxruntime.__version__}: 31 pale pictures, one by one, and in a batch with one of strong contrast")
changed = {}
for name in ("float32", "static", "dynamic"):
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    alone = np.concatenate([session.run(None, {"pixels": picture[None]})[0] for picture in pale])
    beside = session.run(None, {"pixels": batch})[0][:31]
    changed[name] = int((alone.argmax(1) != beside.argmax(1)).sum())
    print(f"{name}: logits are up to {np.abs(alone - beside).max() / np.abs(alone).max():.0e} of their greatest apart, {changed[name]} of 31 classes change")
assert changed["float32"] == changed["static"] == 0 and changed["dynamic"] > 3
PYTHON_CODE
