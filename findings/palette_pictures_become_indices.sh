#!/usr/bin/env bash
# One would guess: a picture with a palette (GIF, small PNG) comes as colours where a library makes arrays of pictures, or is refused.
# True:            datasets' torch and numpy formats, torchvision's ToTensor and, of a GIF, gradio's Image(image_mode="RGB") give the palette's indices, one channel: numbers without meaning, which look like a grey picture and pass for one.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet gradio==6.31.0 datasets==5.2.0 torchvision==0.29.1 torch==2.14.1 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import datasets
import gradio
import numpy as np
import torchvision
from gradio.data_classes import ImageData
from PIL import Image
from torchvision.transforms import ToTensor

coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
palette = Image.fromarray(coarse).resize((160, 120), Image.Resampling.BILINEAR).quantize(64)
palette.save("photo.gif")
palette.save("photo.png")
data = datasets.Dataset.from_dict({"image": ["photo.png"]}, features=datasets.Features({"image": datasets.Image()}))
found = {
    f"datasets {datasets.__version__}, torch format": data.with_format("torch")[0]["image"].numpy()[0],
    "datasets, numpy format": data.with_format("numpy")[0]["image"],
    f"torchvision {torchvision.__version__}, ToTensor": ToTensor()(Image.open("photo.png"))[0].numpy() * 255,
    f"gradio {gradio.__version__}, GIF": gradio.Image(type="numpy").preprocess(ImageData(path="photo.gif", orig_name="photo.gif")),
}
shown = Image.open("photo.png")
grey = np.asarray(shown.convert("L")).astype(float)
for name, values in found.items():
    indices = np.asarray(Image.open("photo.gif" if "GIF" in name else "photo.png"))
    print(f"{name}: {values.shape}, the palette's indices: {np.allclose(values, indices)}, {np.abs(values - grey).mean():.0f} levels from the grey picture on average")
    assert np.allclose(values, indices) and np.abs(values - grey).mean() > 20
PYTHON_CODE
