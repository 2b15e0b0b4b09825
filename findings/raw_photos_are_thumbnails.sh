#!/usr/bin/env bash
# One would guess: a library that cannot develop a camera's raw photo (DNG) refuses it.
# True:            Pillow, OpenCV, imageio, scikit-image and libvips open it as the TIFF it is and give its first picture, the thumbnail: 128 × 96 here, where the photo has 512 × 384; datasets' Image column too. rawpy gives the photo.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0 rawpy==0.28.0 tifffile==2026.3.3 pyvips==3.2.0 pyvips-binary==8.18.7 opencv-python-headless==5.0.0.93 imageio==2.38.1 scikit-image==0.26.0 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import cv2
import datasets
import imageio.v3 as imageio
import numpy as np
import PIL
import pyvips
import rawpy
import skimage.io
import tifffile
from PIL import Image

# As cameras write it: the thumbnail first, and below it, as a part of its page, the sensor's pixels, one colour each.
coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
photo = np.asarray(Image.fromarray(coarse).resize((512, 384), Image.Resampling.BICUBIC))
sensor = photo[..., 1].astype(np.uint16) * 16
sensor[::2, ::2], sensor[1::2, 1::2] = photo[::2, ::2, 0].astype(np.uint16) * 16, photo[1::2, 1::2, 2].astype(np.uint16) * 16
identity = tuple(number for value in np.eye(3, dtype=int).ravel() for number in (int(value), 1))
camera = [
    (50706, "B", 4, (1, 4, 0, 0), True),  # DNG version
    (50707, "B", 4, (1, 1, 0, 0), True),  # which readers must know
    (50708, "s", 0, "A camera", True),
    (50721, "2i", 9, identity, True),  # colour matrix
    (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),  # white
    (50778, "H", 1, 21, True),  # daylight
]
mosaic = [
    (33421, "H", 2, (2, 2), True),  # red, green, green, blue
    (33422, "B", 4, (0, 1, 1, 2), True),
    (50710, "B", 3, (0, 1, 2), True),
    (50711, "H", 1, 1, True),
    (50717, "I", 1, 4095, True),  # white level
]
with tifffile.TiffWriter("photo.dng") as file:
    file.write(photo[::4, ::4], photometric="rgb", subfiletype=1, subifds=1, extratags=camera, metadata=None)
    file.write(sensor, photometric=32803, subfiletype=0, extratags=mosaic, metadata=None)

with rawpy.imread("photo.dng") as raw:
    print(f"rawpy {rawpy.__version__}: {raw.postprocess().shape}")
    assert raw.postprocess().shape == (384, 512, 3)
column = datasets.Dataset.from_dict({"image": ["photo.dng"]}).cast_column("image", datasets.Image())
READERS = {
    f"Pillow {PIL.__version__}": lambda: np.asarray(Image.open("photo.dng")),
    f"OpenCV {cv2.__version__}": lambda: cv2.imread("photo.dng")[..., ::-1],
    "imageio": lambda: imageio.imread("photo.dng"),
    "scikit-image": lambda: skimage.io.imread("photo.dng"),
    "libvips": lambda: pyvips.Image.new_from_file("photo.dng").numpy(),
    f"datasets {datasets.__version__}": lambda: np.asarray(column[0]["image"]),
}
for reader, read in READERS.items():
    pixels = read()
    print(f"{reader}: {pixels.shape}")
    assert np.array_equal(pixels, photo[::4, ::4]), reader
PYTHON_CODE
