#!/usr/bin/env bash
# One would guess: ONNX's Resize with antialias=1 and half_pixel, of uint8, is Pillow's to a level: linear is BILINEAR, cubic with -0.5 BICUBIC.
# True:            inside the picture. At its borders up to 20 levels away, unless exclude_outside is 1, which is not the default. Of float32, cubic goes on below 0 and above 255 between its passes.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 pillow==12.3.0
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import onnxruntime
import PIL
from onnx import TensorProto, helper
from PIL import Image


def resized(pixels, size, mode, exclude_outside, dtype):
    about = {"mode": mode, "antialias": 1, "cubic_coeff_a": -0.5, "coordinate_transformation_mode": "half_pixel"}
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], exclude_outside=exclude_outside, **about)
    kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", kind, [None] * 4), helper.make_tensor_value_info("sizes", TensorProto.INT64, [4])]
    graph = helper.make_graph([node], "resize", inputs, [helper.make_tensor_value_info("y", kind, [None] * 4)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    images = pixels.transpose(2, 0, 1)[None].astype(dtype)
    (found,) = session.run(None, {"x": images, "sizes": np.array([1, 3, *size])})
    return np.clip(np.floor(found[0].astype(float) + 0.5), 0, 255).transpose(1, 2, 0)


print(f"onnxruntime {onnxruntime.__version__}, Pillow {PIL.__version__}: levels from Pillow, in all and 4 pixels from the border")
worst = {}
for mode, filter_ in (("linear", Image.Resampling.BILINEAR), ("cubic", Image.Resampling.BICUBIC)):
    for dtype in ("uint8", "float32"):
        for exclude_outside in (0, 1):
            far = inside = 0.0
            for (height, width), size in (((375, 500), (256, 341)), ((20, 30), (256, 384)), ((640, 97), (100, 15))):
                pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
                pillow = np.asarray(Image.fromarray(pixels).resize(size[::-1], filter_)).astype(float)
                difference = np.abs(resized(pixels, size, mode, exclude_outside, dtype) - pillow)
                far = max(far, difference.max())
                if size == (256, 341):
                    inside = difference[4:-4, 4:-4].max()
            worst[mode, dtype, exclude_outside] = far
            print(f"{mode:<6} {dtype:<7} exclude_outside={exclude_outside}: {far:.0f}, {inside:.0f}")
assert max(worst["linear", "uint8", 0], worst["cubic", "uint8", 0]) >= 8
assert max(worst["linear", "uint8", 1], worst["cubic", "uint8", 1], worst["linear", "float32", 1]) <= 1
PYTHON_CODE
