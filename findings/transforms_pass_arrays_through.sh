#!/usr/bin/env bash
# One would guess: torchvision's v2 transforms refuse a NumPy array (as OpenCV gives it), as the first version did, or convert it.
# True:            every one of them hands it back as it is: not resized, not scaled, not normalised.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import torch
import torchvision
from torchvision import transforms
from torchvision.transforms import v2

picture = np.zeros((240, 320, 3), dtype=np.uint8)
prepare = v2.Compose(
    [v2.Resize(256), v2.CenterCrop(224), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
)
print(f"torchvision {torchvision.__version__}: v2.Compose gives {type(prepare(picture)).__name__} {prepare(picture).shape}")
assert prepare(picture) is picture
try:
    transforms.Resize(256)(picture)
except TypeError as error:
    print(f"the first version's Resize: TypeError, {error}")
else:
    raise AssertionError("the first version took it")
PYTHON_CODE
