#!/usr/bin/env bash
# One would guess: onnx's own ReferenceEvaluator computes what the standard says for the opset that a file names; where a runtime differs, the runtime is wrong.
# True:            Softmax before opset 13, over all axes from the second on, it takes over the last one: of logits in n × classes × 1 × 1, as SqueezeNet's, all classes have the probability 1. LRN, as in AlexNet and GoogLeNet, it applies to as many channels as there are pictures; MaxPool's SAME_LOWER pads nothing above and left where the stride is 2. ONNX Runtime is right in all three.
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
"$PYTHON" -W error - <<'PYTHON_CODE'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

rng = np.random.default_rng(0)


def both(operator, values, opset, **attributes):
    """What ONNX Runtime and onnx's reference make of one operator."""
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", values.shape), ("y", [None] * 4))]
    model = helper.make_model(helper.make_graph([node], "one", info[:1], info[1:]), opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return {"ONNX Runtime": session.run(None, {"x": values})[0], "onnx's reference": ReferenceEvaluator(model).run(None, {"x": values})[0]}


def show(what, by_hand, made):
    print(f"{what}, by hand: {by_hand.ravel()[:4].round(3).tolist()}")
    for name, values in made.items():
        print(f"  {name}: {values.ravel()[:4].round(3).tolist()}")
        assert np.allclose(values, by_hand, atol=1e-5) == (name == "ONNX Runtime")


print(f"onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}")
logits = rng.normal(size=(2, 10, 1, 1)).astype(np.float32)
softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
for opset in (9, 12):
    for attributes in ({}, {"axis": 1}):
        made = both("Softmax", logits, opset, **attributes)
        if attributes:  # over one axis it is the same, as the others have the size 1
            assert all(np.allclose(values, softmax, atol=1e-6) for values in made.values())
        else:
            show(f"Softmax, opset {opset}, 2 × 10 × 1 × 1", softmax, made)

maps = rng.normal(size=(2, 3, 2, 2)).astype(np.float32)
flat = np.exp(maps) / np.exp(maps).sum((1, 2, 3), keepdims=True)
show("Softmax, opset 12, axis=1, 2 × 3 × 2 × 2", flat, both("Softmax", maps, 12, axis=1))

maps = 10 * rng.normal(size=(2, 8, 3, 3)).astype(np.float32)
sums = np.stack([(maps[:, max(0, channel - 2) : channel + 3] ** 2).sum(1) for channel in range(8)], 1)
normalised = maps / (2 + 0.1 / 5 * sums) ** 0.75
made = both("LRN", maps, 13, size=5, alpha=0.1, beta=0.75, bias=2.0)
wrong = [channel for channel in range(8) if not np.allclose(made["onnx's reference"][:, channel], normalised[:, channel], atol=1e-5)]
print(f"LRN over 8 channels of 2 pictures: onnx's reference is wrong in the channels {wrong}")
assert wrong == [2, 3, 4, 5, 6, 7] and np.allclose(made["ONNX Runtime"], normalised, atol=1e-5)

# 4 × 4, windows of 3, stride 2: one row and column of padding, which SAME_LOWER puts above and left.
square = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
padded = np.pad(square[0, 0], ((1, 0), (1, 0)), constant_values=-np.inf)
pooled = np.array([[padded[row : row + 3, column : column + 3].max() for column in (0, 2)] for row in (0, 2)])[None, None]
show("MaxPool, SAME_LOWER, stride 2", pooled, both("MaxPool", square, 13, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"))
PYTHON_CODE
