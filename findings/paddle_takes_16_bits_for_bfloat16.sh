#!/usr/bin/env bash
# One would guess: paddle.to_tensor of a uint16 array, as Pillow, OpenCV and tifffile give pictures of 16 bits, holds its numbers, or refuses it; so does Paddle's ToTensor.
# True:            uint16 is what Paddle calls bfloat16 in NumPy: the bits are read as such: 16256 is 1.0, 16448 is 3.0, dark pixels are 1e-38, and all brighter than half are negative, or NaN. int32 and float32 are taken as numbers.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet paddlepaddle==3.3.1 setuptools==84.2.1 pillow==13.0.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W ignore - 2>errors <<'PYTHON_CODE' || { cat errors; exit 1; }
import warnings

import numpy as np
import paddle
from paddle.vision.transforms import functional
from PIL import Image

ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
Image.fromarray(ramp).save("grey.png")
picture = np.asarray(Image.open("grey.png"))
assert picture.dtype == np.uint16 and (picture == ramp).all()
print(f"Paddle {paddle.__version__}: a picture of 16 bits, from {picture.min()} to {picture.max()}")
with warnings.catch_warnings():
    warnings.simplefilter("error")
    tensors = {
        "to_tensor": paddle.to_tensor(picture),
        "ToTensor": functional.to_tensor(picture[:, :, None]),
        "to_tensor of int32": paddle.to_tensor(picture.astype(np.int32)),
        "to_tensor of float32": paddle.to_tensor(picture.astype(np.float32)),
    }
as_bfloat16 = (picture.astype(np.uint32) << 16).view(np.float32)
for name, tensor in tensors.items():
    values = tensor.astype("float32").numpy().reshape(16, 16)
    picked = [float(values.flat[i]) for i in (1, 64, 127, 192, 255)]
    print(f"{name}: {tensor.dtype}; {[int(picture.flat[i]) for i in (1, 64, 127, 192, 255)]} have become {[float(f'{value:.3g}') for value in picked]}")
    if name.endswith("32"):
        assert (values == picture).all()
    else:
        assert tensor.dtype == paddle.bfloat16 and np.array_equal(values, as_bfloat16, equal_nan=True) and np.isnan(values).any()
PYTHON_CODE
