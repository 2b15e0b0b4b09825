#!/usr/bin/env bash
# One would guess: an ONNX file that takes a JPEG's bytes, by onnxruntime-extensions, sees Pillow's pixels, to a level.
# True:            of 4:4:4 only; with halved chroma, as most JPEGs have, it is not interpolated: a dozen levels and more. EXIF's orientation is not looked at.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet onnxruntime-extensions==0.15.2 onnxruntime==1.32.0 onnx==1.23.2 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import io
from importlib.metadata import version

import numpy as np
import onnxruntime
import onnxruntime_extensions
from onnx import TensorProto, helper
from PIL import Image

node = helper.make_node("DecodeImage", ["file"], ["pixels"], domain="com.microsoft.extensions", color_space="rgb")
info = [helper.make_tensor_value_info(*of) for of in (("file", TensorProto.UINT8, ["n"]), ("pixels", TensorProto.UINT8, ["h", "w", 3]))]
opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft.extensions", 1)]
model = helper.make_model(helper.make_graph([node], "decoder", info[:1], info[1:]), opset_imports=opsets, ir_version=9)
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
picture = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BILINEAR)
exif = Image.Exif()
exif[0x0112] = 6
print(f"onnxruntime-extensions {version('onnxruntime-extensions')}: levels of 255 from Pillow's pixels")
far = {}
for subsampling in ("4:4:4", "4:2:0"):
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=95, subsampling=subsampling, exif=exif)
    pixels = session.run(None, {"file": np.frombuffer(file.getvalue(), np.uint8)})[0]
    far[subsampling] = np.abs(pixels.astype(int) - np.asarray(Image.open(file)))
    print(f"{subsampling}: up to {far[subsampling].max()}, mean {far[subsampling].mean():.2f}, {pixels.shape[1]} × {pixels.shape[0]} at orientation 6")
assert far["4:4:4"].max() <= 2 and far["4:2:0"].max() > 10 and pixels.shape == (240, 320, 3)
PYTHON_CODE
