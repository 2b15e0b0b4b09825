#!/usr/bin/env bash
# One would guess: what an ONNX file says about itself in metadata_props (class names, mean and deviation) is kept by the tools that rewrite its graph.
# True:            by most; onnx.utils.extract_model, which cuts a classifier off at its features, and onnx-graphsurgeon give a file with none, and without its version.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnx-graphsurgeon==0.6.1 onnxslim==0.1.98 onnxsim==0.8.1 onnxruntime==1.32.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import onnx
import onnx.utils
import onnx.version_converter
import onnx_graphsurgeon
import onnxruntime
import onnxsim
import onnxslim
from onnx import TensorProto, helper, numpy_helper

weights = numpy_helper.from_array(np.ones((4, 8), np.float32), "weights")
nodes = [helper.make_node("Relu", ["pixels"], ["features"]), helper.make_node("MatMul", ["features", "weights"], ["logits"])]
info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in (("pixels", 4), ("logits", 8))]
model = helper.make_model(helper.make_graph(nodes, "classifier", info[:1], info[1:], [weights]), opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
helper.set_model_props(model, {"classes": "cat,dog", "mean": "0.485"})
model.model_version = 3
onnx.save(model, "model.onnx")


def extracted():
    onnx.utils.extract_model("model.onnx", "features.onnx", ["pixels"], ["features"])
    return onnx.load("features.onnx")


def optimised():
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = "optimised.onnx"
    onnxruntime.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])
    return onnx.load("optimised.onnx")


tools = {
    "onnx.version_converter": lambda: onnx.version_converter.convert_version(model, 21),
    "onnxsim": lambda: onnxsim.simplify(model)[0],
    "onnxslim": lambda: onnxslim.slim(onnx.load("model.onnx")),
    "ONNX Runtime, optimized_model_filepath": optimised,
    "onnx.utils.extract_model": extracted,
    "onnx_graphsurgeon": lambda: onnx_graphsurgeon.export_onnx(onnx_graphsurgeon.import_onnx(model)),
}
print(f"onnx {onnx.__version__}, onnxsim {onnxsim.__version__}, onnxslim {onnxslim.__version__}, onnx-graphsurgeon {onnx_graphsurgeon.__version__}, ONNX Runtime {onnxruntime.__version__}")
for name, tool in tools.items():
    written = tool()
    kept = {entry.key for entry in written.metadata_props} & {"classes", "mean"}
    print(f"{name}: keeps {sorted(kept) or 'nothing'}, version {written.model_version}")
    assert len(kept) == (0 if name in ("onnx.utils.extract_model", "onnx_graphsurgeon") else 2)
PYTHON_CODE
