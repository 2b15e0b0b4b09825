#!/usr/bin/env bash
# One would guess: wandb.Image of a tensor of 0…1, as every loader gives it, is logged as that picture, as it was for years and as TensorBoard does; pixels beyond 255 end at white.
# True:            since 0.29 pixels are cast to uint8 as they are, whatever their range: pictures of 0…1 are black, normalised ones are of 0, 1 and 255, and of 16 bits the lower byte is kept. 0.28 scaled 0…1. Nothing is said.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/program.py" <<'PYTHON_CODE'
import sys
import warnings

import numpy as np
import wandb
from PIL import Image

ramp = np.broadcast_to(np.linspace(0.2, 0.8, 64, dtype=np.float32)[None, :, None], (64, 64, 3))
made = {
    "0…1": ramp,
    "normalised": (ramp - 0.45) / 0.225,
    "0…255": (ramp * 255).astype(np.uint8),
    "16 bits": (ramp * 60000).astype(np.uint16),
}
print(f"wandb {wandb.__version__}")
seen = {}
for name, pixels in made.items():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = wandb.Image(pixels)
    logged = np.asarray(Image.open(picture._path).convert("RGB"))[0, :, 0]
    seen[name] = logged
    print(f"a ramp from 0.2 to 0.8, as {name}: logged as the levels {logged[0]}, {logged[21]}, {logged[42]}, {logged[63]}")
assert (seen["0…255"] == made["0…255"][0, :, 0]).all()
if sys.argv[1] == "new":
    assert (seen["0…1"] == 0).all() and set(seen["normalised"]) <= {0, 1, 255} and (seen["16 bits"] == made["16 bits"][0, :, 0] % 256).all()
else:
    assert abs(seen["0…1"].astype(int) - made["0…255"][0, :, 0]).max() <= 1
PYTHON_CODE
cd "$folder"
export WANDB_MODE=offline WANDB_SILENT=true WANDB_ERROR_REPORTING=false
if [ -n "${PYTHON:-}" ]; then
  "$PYTHON" program.py new
else
  for version in 0.28.0 0.31.0; do
    python3 -m venv --clear "$folder/venv"
    "$folder/venv/bin/pip" install --quiet wandb==$version pillow==12.3.0 numpy==2.4.6
    PYTHONWARNINGS=ignore "$folder/venv/bin/python" program.py "$([ $version = 0.28.0 ] && echo old || echo new)"
  done
fi
