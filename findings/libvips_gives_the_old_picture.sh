#!/usr/bin/env bash
# One would guess: a file that has been written again, with another picture and of another size, is read as it is now, as Pillow and OpenCV do.
# True:            libvips keeps what it has opened by the file's name: a process that stores each photo as upload.jpg and reads it with new_from_file sees the first one for all; revalidate=True asks the file. sharp, in Node, does so with WebP alone.
# NODE_MODULES=folder and PYTHON=python3 take the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
if [ -z "${NODE_MODULES:-}" ]; then
  npm install --silent --ignore-scripts --no-audit --no-fund sharp@0.35.5
else
  ln -s "$NODE_MODULES" node_modules
fi
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pyvips==3.2.0 pyvips-binary==8.18.7 opencv-python-headless==5.0.0.93 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import cv2
import numpy as np
import PIL
import pyvips
from PIL import Image

READERS = {
    "Pillow": lambda name: np.asarray(Image.open(name)),
    "OpenCV": cv2.imread,
    "libvips": lambda name: pyvips.Image.new_from_file(name).numpy(),
    "libvips, revalidate": lambda name: pyvips.Image.new_from_file(name, revalidate=True).numpy(),
}
version = ".".join(str(pyvips.version(place)) for place in range(3))
print(f"libvips {version}, Pillow {PIL.__version__}, OpenCV {cv2.__version__}; three photos, each written to the same name:")
written = [((40, 60), 10), ((40, 60), 100), ((20, 30), 200)]
read = {}
for suffix in ("jpg", "png", "webp", "tif"):
    for reader, pixels_of in READERS.items():
        name, found = f"{reader}.{suffix}", []
        for (height, width), level in written:
            Image.new("RGB", (width, height), (level, level, level)).save(name)
            pixels = pixels_of(name)
            found.append((pixels.shape[:2], int(pixels[0, 0, 0])))
        read[reader, suffix] = found
        print(f"{suffix}, {reader}: " + ", ".join(f"level {level} of {width} × {height}" for (height, width), level in found))
for (reader, suffix), found in read.items():
    assert found == ([written[0]] * 3 if reader == "libvips" else written), (reader, suffix)
PYTHON_CODE
cat >read.cjs <<'NODE_CODE'
const { renameSync } = require("fs");
const sharp = require("sharp");

(async () => {
  console.log(`sharp ${sharp.versions.sharp}, Node.js ${process.version}`);
  const stale = [];
  for (const suffix of ["jpg", "png", "tif", "avif", "webp", "gif"]) {
    const found = [];
    for (const level of [10, 100, 200]) {
      const background = { r: level, g: level, b: level };
      await sharp({ create: { width: 60, height: 40, channels: 3, background } }).toFile(`new.${suffix}`);
      renameSync(`new.${suffix}`, `upload.${suffix}`);
      found.push((await sharp(`upload.${suffix}`).raw().toBuffer())[0]);
    }
    console.log(`${suffix}, sharp: levels ${found.join(", ")}`);
    if (found[2] < 190) stale.push(suffix);
  }
  if (stale.join() !== "webp") process.exit(1);
})();
NODE_CODE
node read.cjs
