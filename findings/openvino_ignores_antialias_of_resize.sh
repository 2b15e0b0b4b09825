#!/usr/bin/env bash
# One would guess: of an ONNX Resize with antialias=1, OpenVINO honours it, or says that it does not know it.
# True:            it is dropped without a word: 39 of 255 levels from Pillow on average, where ONNX Runtime is a quarter of one. A file that prepares its own photos answers otherwise there.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 pillow==12.3.0
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper
from PIL import Image

pixels = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
images = pixels.transpose(2, 0, 1)[None].astype(np.float32)
core = openvino.Core()
print(f"onnxruntime {onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]}: mean difference from Pillow, levels of 255")
for mode, filter_ in (("linear", Image.Resampling.BILINEAR), ("cubic", Image.Resampling.BICUBIC)):
    about = {"mode": mode, "cubic_coeff_a": -0.5, "coordinate_transformation_mode": "half_pixel"}
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], antialias=1, exclude_outside=1, **about)
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 375, 500])
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 3, 64, 86])
    graph = helper.make_graph([node], "resize", [taken], [given], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    pillow = np.asarray(Image.fromarray(pixels).resize((86, 64), filter_)).astype(float)
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = {
        "onnxruntime": onnxruntime.InferenceSession(model).run(None, {"x": images})[0],
        "OpenVINO": compiled([images])[0],
    }
    far = {name: np.abs(answer[0].transpose(1, 2, 0) - pillow).mean() for name, answer in answers.items()}
    print(mode, {name: round(float(value), 2) for name, value in far.items()})
    assert far["onnxruntime"] < 1 and far["OpenVINO"] > 20
PYTHON_CODE
