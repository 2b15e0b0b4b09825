#!/usr/bin/env bash
# One would guess: a picture of bools (a mask, a silhouette, a scanned page), written as TIFF by tifffile or imageio, is white where it is True, for every reader, as it is as PNG or as 8 bits.
# True:            tifffile writes bools, and nothing else, with white as zero and does not turn them round: Pillow, OpenCV and libvips, who heed that, see the negative; tifffile, imageio and scikit-image, who read it without heed, get back what they wrote, which hides it. photometric="minisblack" is right for all.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet tifffile==2026.3.3 imageio==2.38.1 scikit-image==0.26.0 pillow==12.3.0 opencv-python-headless==5.0.0.93 pyvips==3.2.0 pyvips-binary==8.18.7 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W ignore - <<'PYTHON_CODE'
import cv2
import imageio.v3
import numpy as np
import PIL
import pyvips
import skimage
import tifffile
from PIL import Image

mask = np.zeros((64, 96), bool)
mask[8:24, 16:64] = True
writers = {
    "tifffile": lambda name: tifffile.imwrite(name, mask),
    "imageio": lambda name: imageio.v3.imwrite(name, mask),
    "scikit-image": lambda name: skimage.io.imsave(name, mask, check_contrast=False),
    "tifffile, as 8 bits": lambda name: tifffile.imwrite(name, mask.astype(np.uint8) * 255),
    'tifffile, photometric="minisblack"': lambda name: tifffile.imwrite(name, mask, photometric="minisblack"),
    "Pillow": lambda name: Image.fromarray(mask).save(name),
}
readers = {
    "Pillow": lambda name: np.asarray(Image.open(name).convert("L")),
    "OpenCV": lambda name: cv2.imread(name, cv2.IMREAD_GRAYSCALE),
    "libvips": lambda name: pyvips.Image.new_from_file(name).numpy(),
    "tifffile": tifffile.imread,
    "imageio": lambda name: imageio.v3.imread(name),
    "scikit-image": skimage.io.imread,
}
print(f"tifffile {tifffile.__version__}, imageio {imageio.__version__}, scikit-image {skimage.__version__}, Pillow {PIL.__version__}, OpenCV {cv2.__version__}")
print(f"True, white: {mask.mean():.0%} of the picture; white for")
for number, (writer, write) in enumerate(writers.items()):
    path = f"{number}.tif"  # another one each time, as libvips keeps what it has read
    write(path)
    white = {reader: float((np.asarray(read(path)).squeeze() > 0).mean()) for reader, read in readers.items()}
    print(f"{writer}: " + ", ".join(f"{reader} {share:.0%}" for reader, share in white.items()))
    for reader, share in white.items():
        negative = writer in ("tifffile", "imageio") and reader in ("Pillow", "OpenCV", "libvips")
        assert abs(share - (1 - mask.mean() if negative else mask.mean())) < 1e-9, (writer, reader)
PYTHON_CODE
