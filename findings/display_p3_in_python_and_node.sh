#!/usr/bin/env bash
# One would guess: a photo in Display P3, as phones take them, gives a model the same pixels in transformers.js as in Python: both read the file, neither looks at its colour profile, or both do.
# True:            Pillow, OpenCV and libvips, so all of Python, give the numbers as they are stored; transformers.js in Node, by sharp, converts them to sRGB: dozens of levels away in strong colours.
# Needs Node.js 20. PYTHON=python3 NODE_PATH=node_modules takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pyvips==3.2.0 pyvips-binary==8.18.7 opencv-python-headless==5.0.0.93 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
  npm install --silent --ignore-scripts --prefix "$folder" @huggingface/transformers@4.3.2
  NODE_PATH=$folder/node_modules
fi
export NODE_PATH
cd "$folder"
cat >make.py <<'PYTHON_CODE'
import numpy as np
import pyvips
from PIL import Image

profile = bytes(pyvips.Image.profile_load("p3"))
colours = np.random.default_rng(0).integers(20, 236, (12, 16, 3), dtype=np.uint8)
photo = Image.fromarray(colours).resize((160, 120), Image.Resampling.BICUBIC)
for name, picture in (("colours", photo), ("grey", photo.convert("L").convert("RGB"))):
    picture.save(f"{name}.jpg", quality=95, icc_profile=profile)
PYTHON_CODE
cat >read.cjs <<'NODE_CODE'
const { writeFileSync } = require("fs");
const { RawImage, env } = require("@huggingface/transformers");

(async () => {
  for (const name of ["colours", "grey"]) writeFileSync(`${name}.raw`, (await RawImage.read(`${name}.jpg`)).data);
  console.log(`transformers.js ${env.version}, Node.js ${process.version}`);
})();
NODE_CODE
cat >compare.py <<'PYTHON_CODE'
import io

import cv2
import numpy as np
import PIL
import pyvips
from PIL import Image, ImageCms

version = ".".join(str(pyvips.version(place)) for place in range(3))
print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}, libvips {version}")
greatest = {}
for name in ("colours", "grey"):
    opened = Image.open(f"{name}.jpg")
    stored = np.asarray(opened).astype(int)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(opened.info["icc_profile"]))
    converted = np.asarray(ImageCms.profileToProfile(opened, profile, ImageCms.createProfile("sRGB"), ImageCms.Intent.PERCEPTUAL))
    read = {
        "OpenCV": cv2.imread(f"{name}.jpg")[..., ::-1],
        "libvips": pyvips.Image.new_from_file(f"{name}.jpg").numpy(),
        "transformers.js": np.fromfile(f"{name}.raw", np.uint8).reshape(stored.shape),
    }
    for reader, pixels in read.items():
        greatest[name, reader] = np.abs(pixels - stored).max()
        print(f"{name}, {reader}: up to {greatest[name, reader]} levels from Pillow, mean {np.abs(pixels - stored).mean():.1f}; up to {np.abs(pixels.astype(int) - converted).max()} from Pillow converted to sRGB")
    greatest[name, "converted"] = np.abs(read["transformers.js"].astype(int) - converted).max()
assert greatest["colours", "OpenCV"] == greatest["colours", "libvips"] == 0 and greatest["grey", "transformers.js"] <= 2
assert greatest["colours", "transformers.js"] > 40 and greatest["colours", "converted"] <= 8
PYTHON_CODE
"$PYTHON" make.py && node read.cjs && "$PYTHON" compare.py
