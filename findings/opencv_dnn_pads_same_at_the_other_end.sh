#!/usr/bin/env bash
# One would guess: auto_pad SAME_UPPER, TensorFlow's padding, is the same in OpenCV's dnn and in ONNX Runtime: where its sum is odd, the row and column more are below and right.
# True:            OpenCV puts them above and left, as SAME_LOWER: all a stem of stride 2 sees of 224 × 224 is moved by a pixel. Nothing tells: odd sizes, stride 1 and written pads agree. Where SAME_LOWER is meant, kernels of even size are moved the other way.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 opencv-python-headless==5.0.0.93 openvino==2026.4.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
CI=true "$PYTHON" - <<'PYTHON_CODE'
import cv2
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

core = openvino.Core()
rng = np.random.default_rng(0)


def stem(size, kernel, stride, **padding):
    """The greatest difference of OpenCV and of OpenVINO from ONNX Runtime, and how far the answers reach."""
    weights = numpy_helper.from_array(rng.normal(0, 0.1, (8, 3, kernel, kernel)).astype(np.float32), "weights")
    info = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, size, size]), helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 8, -(-size // stride), -(-size // stride)])]
    node = helper.make_node("Conv", ["pixels", "weights"], ["features"], strides=[stride] * 2, **padding)
    model = helper.make_model(helper.make_graph([node], "stem", info[:1], info[1:], [weights]), opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    pixels = rng.normal(0, 1, (1, 3, size, size)).astype(np.float32)
    there = onnxruntime.InferenceSession(model).run(None, {"pixels": pixels})[0]
    network = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
    network.setInput(pixels)
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return *(np.abs(here - there).max() for here in (network.forward(), compiled([pixels])[0])), np.abs(there).max()


print(f"OpenCV {cv2.__version__}, OpenVINO {openvino.__version__.split('-')[0]}, ONNX Runtime {onnxruntime.__version__}")
for size, kernel, stride, padding, moved in (
    (224, 7, 2, {"auto_pad": "SAME_UPPER"}, True),
    (224, 3, 2, {"auto_pad": "SAME_UPPER"}, True),
    (224, 7, 2, {"pads": [2, 2, 3, 3]}, False),
    (225, 7, 2, {"auto_pad": "SAME_UPPER"}, False),
    (224, 3, 1, {"auto_pad": "SAME_UPPER"}, False),
    (224, 3, 2, {"auto_pad": "SAME_LOWER"}, False),
    (224, 2, 1, {"auto_pad": "SAME_LOWER"}, True),
):
    opencv, other, reach = stem(size, kernel, stride, **padding)
    print(f"{size} × {size}, kernel {kernel}, stride {stride}, {padding}: of {reach:.2f}, OpenCV is {opencv:.2g} away, OpenVINO {other:.1g}")
    assert (opencv > 0.5) == moved and other < 1e-4
PYTHON_CODE
