#!/usr/bin/env bash
# One would guess: a photo has the same pixels in Node and in Python, but for a level.
# True:            sharp, and so transformers.js, and a canvas carry them over from the photo's colour profile (Display P3 in every iPhone's) to sRGB; Pillow, OpenCV and jimp give them as they lie: red is 14 levels away. ignoreIcc: true makes sharp agree.
# NODE_MODULES=folder and PYTHON=python3 take the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
if [ -z "${NODE_MODULES:-}" ]; then
  npm install --silent --ignore-scripts --no-audit --no-fund sharp@0.35.5 jimp@1.6.1 @napi-rs/canvas@1.1.1 @huggingface/transformers@4.3.1
else
  ln -s "$NODE_MODULES" node_modules
fi
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pillow==12.3.0 opencv-python-headless==5.0.0.93 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cat > make.mjs <<'PROGRAM'
import sharp from "sharp";
const colour = { create: { width: 32, height: 32, channels: 3, background: { r: 200, g: 60, b: 40 } } }; // in sRGB, written in Display P3
await sharp(colour).withIccProfile("p3").jpeg({ quality: 100, chromaSubsampling: "4:4:4" }).toFile("photo.jpg");
PROGRAM
cat > look.mjs <<'PROGRAM'
import { readFileSync } from "node:fs";
import { createCanvas, loadImage } from "@napi-rs/canvas";
import { RawImage } from "@huggingface/transformers";
import { Jimp } from "jimp";
import sharp from "sharp";
const first = async (picture) => [...(await picture.raw().toBuffer()).subarray(0, 3)];
const context = createCanvas(32, 32).getContext("2d");
context.drawImage(await loadImage("photo.jpg"), 0, 0);
const names = ["sharp", "@huggingface/transformers", "@napi-rs/canvas", "jimp"];
console.log(JSON.stringify({
  versions: names.map((name) => `${name} ${JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version}`),
  converted: {
    sharp: await first(sharp("photo.jpg")),
    "transformers.js": [...(await RawImage.read("photo.jpg")).data.slice(0, 3)],
    canvas: [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)],
  },
  stored: { "sharp, ignoreIcc": await first(sharp("photo.jpg", { ignoreIcc: true })), jimp: [...(await Jimp.read("photo.jpg")).bitmap.data.subarray(0, 3)] },
}));
PROGRAM
node make.mjs
node look.mjs > seen.json
"$PYTHON" - <<'PYTHON_CODE'
import json

import cv2
import numpy as np
import PIL
from PIL import Image

with open("seen.json", encoding="utf-8") as file:
    seen = json.load(file)
photo = Image.open("photo.jpg")
assert photo.info["icc_profile"]
seen["stored"] |= {"Pillow": list(photo.convert("RGB").getpixel((0, 0))), "OpenCV": cv2.imread("photo.jpg")[0, 0, ::-1].tolist()}
print(*seen["versions"], f"Pillow {PIL.__version__}", f"OpenCV {cv2.__version__}", sep=", ")
for kind, colour in (("stored", (186, 71, 50)), ("converted", (200, 60, 40))):
    for name, pixel in seen[kind].items():
        print(f"{name}: {pixel}, the colour as it is {kind}")
        assert np.abs(np.array(pixel) - colour).max() <= 2
PYTHON_CODE
