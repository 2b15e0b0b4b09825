#!/usr/bin/env bash
# One would guess: gr.Image hands over the same pixels for one uploaded photo, as an array, as a Pillow image or as a path; a path is that of the file as it was uploaded.
# True:            arrays and Pillow images are turned as the photo's EXIF orientation says; type="filepath" gives a photo in colours as it lies, but a grey one turned and compressed again, at quality 75, since its mode is not RGB; with image_mode=None it stays. One photo has two forms in one app.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet gradio==6.31.0 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
GRADIO_ANALYTICS_ENABLED=False GRADIO_TEMP_DIR=$folder/cache "$PYTHON" -W error::UserWarning - <<'PYTHON_CODE'
from pathlib import Path

import gradio
import numpy as np
import PIL
from gradio.data_classes import ImageData
from PIL import Image

rng = np.random.default_rng(0)
exif = Image.Exif()
exif[274] = 6  # the camera was held upright
noise = rng.integers(0, 256, (16, 24), dtype=np.uint8)
photos = {"colours": Image.fromarray(np.stack([noise, 255 - noise, noise], -1)), "grey": Image.fromarray(noise)}
print(f"Gradio {gradio.__version__}, Pillow {PIL.__version__}: photos of 24 × 16 that are to be turned to 16 × 24")
for name, photo in photos.items():
    path = Path(f"{name}.jpeg").resolve()
    photo.save(path, quality=95, exif=exif)
    as_it_lies = np.asarray(Image.open(path).convert("RGB")).astype(int)
    turned = np.rot90(as_it_lies, -1)
    for kind, mode in (("numpy", "RGB"), ("pil", "RGB"), ("filepath", "RGB"), ("filepath", None)):
        given = gradio.Image(type=kind, image_mode=mode).preprocess(ImageData(path=str(path), orig_name=path.name))
        file = Path(given) if kind == "filepath" else None
        if file:
            opened = Image.open(file)
            given = opened.convert("RGB")
            same = file.read_bytes() == path.read_bytes()
            note = "the uploaded file" if same else f"another file, orientation {opened.getexif().get(274)}"
        pixels = np.asarray(given).astype(int)
        lies = pixels.shape == as_it_lies.shape
        far = abs(pixels - (as_it_lies if lies else turned)).max()
        print(f"{name}, type={kind}, image_mode={mode}: {'as it lies' if lies else 'turned'}, {far} levels away{f', {note}' if file else ''}")
        again = kind == "filepath" and mode and name == "grey"
        assert lies == (kind == "filepath" and not again) and (far > 5) == bool(again) and (far > 0) == bool(again)
PYTHON_CODE
