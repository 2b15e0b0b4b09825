#!/usr/bin/env bash
# One would guess: a GIF's transparent pixels have the palette's colour once alpha is dropped, whichever library reads it, as in PNG.
# True:            Pillow, OpenCV give the palette's colour, libvips and imagecodecs black: white drawings on a transparent ground, or black ones.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pyvips==3.2.0 pyvips-binary==8.18.7 imagecodecs==2026.3.6 opencv-python-headless==5.0.0.93 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import cv2
import imagecodecs
import numpy as np
import PIL
import pyvips
from PIL import Image

version = ".".join(str(pyvips.version(place)) for place in range(3))
print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}, libvips {version}, imagecodecs {imagecodecs.__version__}")
picture = Image.new("P", (32, 32), 1)
picture.putpalette([0, 0, 0, 255, 250, 240, 90, 90, 90])
seen = {}
for name in ("png", "gif"):
    picture.save(f"picture.{name}", transparency=1)
    read = {
        "Pillow": np.asarray(Image.open(f"picture.{name}").convert("RGB")),
        "OpenCV": cv2.imread(f"picture.{name}", cv2.IMREAD_COLOR)[..., ::-1],
        "libvips": pyvips.Image.new_from_file(f"picture.{name}").numpy()[..., :3],
        "imagecodecs": imagecodecs.imread(f"picture.{name}")[..., :3],
    }
    seen[name] = {library: pixels.reshape(-1, 3)[0].tolist() for library, pixels in read.items()}
    print(f"{name}: {seen[name]}")
shown, black = [255, 250, 240], [0, 0, 0]
assert seen["png"] == dict.fromkeys(seen["png"], shown)
assert seen["gif"] == {"Pillow": shown, "OpenCV": shown, "libvips": black, "imagecodecs": black}
PYTHON_CODE
