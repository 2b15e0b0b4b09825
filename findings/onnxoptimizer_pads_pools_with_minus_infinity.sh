#!/usr/bin/env bash
# One would guess: onnxoptimizer's passes, those that run unasked, leave the answers of a network as they are.
# True:            they put a Pad of zeros into the pooling behind it, where a maximum does not see the padding: zeros that were greater than the pixels are gone, as of a stem in TensorFlow's way without a ReLU (Keras's ResNet50V2). An average with padding of its own no longer counts the zeros. onnxsim, onnxslim and ONNX Runtime leave both alone.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxoptimizer==0.4.2 onnxsim==0.8.1 onnxslim==0.1.98 onnxruntime==1.32.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
from importlib.metadata import version

import numpy as np
import onnx
import onnxoptimizer
import onnxruntime
import onnxsim
import onnxslim
from onnx import TensorProto, helper, numpy_helper


def classifier(pooling, **attributes):
    """Pixels with one row and column of zeros around them, pooled."""
    pads = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "pads")
    nodes = [helper.make_node("Pad", ["pixels", "pads"], ["padded"]), helper.make_node(pooling, ["padded"], ["pooled"], kernel_shape=[3, 3], strides=[2, 2], **attributes)]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, size, size]) for name, size in (("pixels", 7), ("pooled", 5 if "pads" in attributes else 4))]
    return helper.make_model(helper.make_graph(nodes, "stem", info[:1], info[1:], [pads]), opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"pixels": np.full((1, 1, 7, 7), -1, np.float32)})[0][0, 0, 0]


tools = {
    "onnxoptimizer": onnxoptimizer.optimize,
    "onnxsim": lambda model: onnxsim.simplify(model)[0],
    "onnxslim": onnxslim.slim,
}
print(", ".join(f"{name} {version(name)}" for name in tools), "- all pixels -1, zeros around them; the first row of each")
for pooling, attributes in (("MaxPool", {}), ("AveragePool", {"pads": [1, 1, 1, 1]})):
    there = run(classifier(pooling, **attributes))
    print(f"{pooling}, as it was: {there.round(2).tolist()}")
    if pooling == "MaxPool":
        assert (there == 0).all()
    for name, tool in tools.items():
        written = tool(classifier(pooling, **attributes))
        onnx.checker.check_model(written)
        here = run(written)
        print(f"{pooling}, {name}: {here.round(2).tolist()}, {[node.op_type for node in written.graph.node]}")
        assert np.array_equal(here, there) == (name != "onnxoptimizer")
PYTHON_CODE
