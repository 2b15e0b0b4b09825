#!/usr/bin/env bash
# One would guess: convert("RGB") before or after resize gives the same picture of a PNG with transparency, but for rounding.
# True:            resize multiplies colours by alpha: what is transparent turns black. Converted first, it keeps its hidden colour.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import PIL
from PIL import Image

# A logo as editors save it: white, and transparent where nothing is drawn.
picture = Image.new("RGBA", (320, 240), (255, 255, 255, 0))
picture.paste((200, 30, 30, 255), (100, 80, 220, 160))
first = np.asarray(picture.convert("RGB").resize((160, 120), Image.Resampling.BILINEAR))
after = np.asarray(picture.resize((160, 120), Image.Resampling.BILINEAR).convert("RGB"))
print(f"Pillow {PIL.__version__}: mean level, converted first {first.mean():.0f}, resized first {after.mean():.0f}")
print(f"the corner's colour: {first[0, 0].tolist()} and {after[0, 0].tolist()}")
assert (first[0, 0] == 255).all() and (after[0, 0] == 0).all()
PYTHON_CODE
