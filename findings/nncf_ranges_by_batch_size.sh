#!/usr/bin/env bash
# One would guess: nncf.quantize sees the same numbers in the same pictures, however a loader puts them into batches, and keeps what is usual among them.
# True:            the range of an activation is the mean of the greatest values of the batches: with one picture a batch, every second picture is cut off at its bright end; the larger the batches, the wider the range, up to the greatest of all. Another network for another batch size, without a word.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet nncf==3.4.0 openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
CI=true "$PYTHON" -W ignore - 2>errors <<'PYTHON_CODE' || { cat errors; exit 1; }
import contextlib
import io
import logging

import nncf
import numpy as np
import openvino
from onnx import TensorProto, helper, numpy_helper

nncf.set_log_level(logging.ERROR)
core = openvino.Core()
rng = np.random.default_rng(0)
weights = {"W": rng.normal(0, 0.2, (16, 3, 3, 3)), "V": rng.normal(0, 0.1, (16, 16, 3, 3)), "H": rng.normal(0, 1, (10, 16))}
nodes = [
    helper.make_node("Conv", ["pixels", "W"], ["a"]), helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Conv", ["b", "V"], ["c"]), helper.make_node("Relu", ["c"], ["d"]),
    helper.make_node("GlobalAveragePool", ["d"], ["e"]), helper.make_node("Flatten", ["e"], ["f"]), helper.make_node("Gemm", ["f", "H"], ["logits"], transB=1),
]  # fmt: skip
info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("pixels", ["n", 3, 16, 16]), ("logits", ["n", 10]))]
graph = helper.make_graph(nodes, "classifier", info[:1], info[1:], [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
# 256 pictures of contrasts from 0.2 to 2.6, none of them odd.
pictures = rng.uniform(-1, 1, (256, 3, 16, 16)).astype(np.float32) * rng.uniform(0.2, 2.6, (256, 1, 1, 1)).astype(np.float32)


def logits(network):
    return core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([pictures])[0]


def reach_of_pixels(network):
    """The greatest pixel that the quantised network tells from a greater one."""
    (first,) = (o for o in network.get_ordered_ops() if o.get_type_name() == "FakeQuantize" and o.input_value(0).get_node().get_type_name() == "Parameter")
    return first.input_value(2).get_node().get_data().max()


there = logits(core.read_model(model))
print(f"NNCF {nncf.__version__}, OpenVINO {openvino.__version__.split('-')[0]}: 256 pictures, whose greatest pixel is {pictures.max():.2f}")
far, reach = {}, {}
for size in (1, 16, 256):
    with contextlib.redirect_stdout(io.StringIO()):
        network = nncf.quantize(core.read_model(model), nncf.Dataset(np.split(pictures, 256 // size)), subset_size=256)
    reach[size] = reach_of_pixels(network)
    far[size] = np.sqrt(((logits(network) - there) ** 2).mean()) / np.sqrt((there**2).mean())
    cut = (pictures.max((1, 2, 3)) > reach[size] * 1.01).mean()
    print(f"in batches of {size}: pixels up to {reach[size]:.2f}, which cuts {cut:.0%} of the pictures off; logits are {far[size]:.1%} from float32's")
mean_of_greatest = pictures.max((1, 2, 3)).mean()
assert abs(reach[1] / mean_of_greatest - 1) < 0.02 and reach[1] < 0.7 * reach[256] and reach[1] < reach[16] < 1.01 * reach[256]
assert far[1] > 2 * far[256]
PYTHON_CODE
