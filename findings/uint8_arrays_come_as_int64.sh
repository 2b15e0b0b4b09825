#!/usr/bin/env bash
# One would guess: a column Array3D(dtype="uint8") gives uint8 arrays in the torch and numpy formats, as an Image column does.
# True:            it gives int64, eight times the memory; what scales integers by their type, as torchvision's to_dtype(scale=True), then divides by 2**63 - 1, and ToTensor does not divide at all: black pictures, or levels up to 255. format_kwargs dtype=torch.uint8 keeps them.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0 torchvision==0.29.1 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import datasets
import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.transforms import ToTensor
from torchvision.transforms.v2.functional import to_dtype

pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 64), dtype=np.uint8)
features = datasets.Features({"array": datasets.Array3D((3, 48, 64), "uint8"), "image": datasets.Image()})
data = datasets.Dataset.from_dict({"array": [pixels], "image": [Image.fromarray(pixels.transpose(1, 2, 0))]}, features=features)
row, rows = data.with_format("torch")[0], data.with_format("numpy")[0]
scaled = {name: float(to_dtype(row[name], torch.float32, scale=True).max()) for name in ("array", "image")}
by_to_tensor = float(ToTensor()(rows["array"].transpose(1, 2, 0)).max())
kept = data.with_format("torch", columns=["array"], dtype=torch.uint8)[0]["array"]
print(f"datasets {datasets.__version__}, torchvision {torchvision.__version__}: types {row['array'].dtype} and {rows['array'].dtype}; of the Image column {row['image'].dtype} and {rows['image'].dtype}")
print(f"greatest value by to_dtype(scale=True): {scaled['array']:.1e}, of the Image column {scaled['image']:.2f}; by ToTensor: {by_to_tensor:.0f}; with dtype=torch.uint8: {kept.dtype}")
assert row["array"].dtype == torch.int64 and rows["array"].dtype == np.int64 and row["image"].dtype == torch.uint8
assert scaled["array"] < 1e-12 and scaled["image"] == 1 and by_to_tensor == 255 and kept.dtype == torch.uint8
PYTHON_CODE
