#!/usr/bin/env bash
# One would guess: transformers.js in Node resizes as the processor's resample says, which is a number of Pillow's: BILINEAR and BICUBIC with antialiasing, to a few levels; its code says that it does as Pillow does.
# True:            each pixel is a mean of four, with all between left out, and moved a little: photos made smaller are dozens of levels from Pillow's, by bilinear and by bicubic, what a ResNet-50 was trained on; only lanczos is Pillow's.
# Needs Node.js 20. PYTHON=python3 NODE_PATH=node_modules takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
  npm install --silent --ignore-scripts --prefix "$folder" @huggingface/transformers@4.3.2
  NODE_PATH=$folder/node_modules
fi
export NODE_PATH
cd "$folder"
cat >make.py <<'PYTHON_CODE'
import numpy as np
from PIL import Image

random = np.random.default_rng(0)
coarse = Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
grain = random.integers(-60, 61, (480, 640, 1))
Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).save("photo.png")
PYTHON_CODE
cat >resize.cjs <<'NODE_CODE'
const { writeFileSync } = require("fs");
const { RawImage, env } = require("@huggingface/transformers");

(async () => {
  const photo = await RawImage.read("photo.png");
  for (const resample of [1, 2, 3]) {
    const small = await photo.resize(298, 224, { resample });
    writeFileSync(`by_${resample}`, small.data);
  }
  console.log(`transformers.js ${env.version}, Node.js ${process.version}`);
})();
NODE_CODE
cat >compare.py <<'PYTHON_CODE'
import numpy as np
import PIL
from PIL import Image

photo = Image.open("photo.png")
print(f"Pillow {PIL.__version__}; 640 × 480 made 298 × 224:")
away = {}
for resample in (Image.Resampling.LANCZOS, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
    reference = np.asarray(photo.resize((298, 224), resample)).astype(int)
    difference = np.abs(np.fromfile(f"by_{resample.value}", np.uint8).reshape(reference.shape) - reference)
    away[resample.name] = difference.max(), difference.mean()
    print(f"{resample.name}: up to {difference.max()} levels from Pillow's, mean {difference.mean():.1f}")

# What it does: of each two neighbours in each direction the mean, by distance, with pixels at their upper left corners.
pixels = np.asarray(photo).astype(float)
places = [np.arange(count) * length / count for count, length in ((224, 480), (298, 640))]
for axis, place in enumerate(places):
    first, part = place.astype(int), (place % 1).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    pixels = pixels.take(first, axis) * (1 - part) + pixels.take(first + 1, axis) * part
by_hand = np.abs(np.fromfile("by_2", np.uint8).reshape(pixels.shape) - pixels).max()
print(f"BILINEAR: up to {by_hand:.1f} levels from a mean of four pixels, a part of a pixel to the upper left of Pillow's")
assert away["LANCZOS"][0] <= 8 and away["LANCZOS"][1] < 1 and by_hand < 1
assert min(away["BILINEAR"][0], away["BICUBIC"][0]) > 30 and min(away["BILINEAR"][1], away["BICUBIC"][1]) > 5
PYTHON_CODE
"$PYTHON" make.py && node resize.cjs && "$PYTHON" compare.py
