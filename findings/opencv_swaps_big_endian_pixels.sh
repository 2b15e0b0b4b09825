#!/usr/bin/env bash
# One would guess: OpenCV takes a NumPy array by its values: those of a picture of 16 bits that Pillow has read from a TIFF of a Mac, a scanner or ImageJ, or refuses it, as torch.from_numpy does.
# True:            np.asarray of such a TIFF is big-endian (>u2), and OpenCV takes its bytes in the other order, without a word: resize, cvtColor, normalize, imwrite and blobFromImage give noise, up to nine tenths of the whole range away, and the mean hardly moves; >f4 and >f8 become 0. imagecodecs' JPEG 2000 does likewise. Where OpenCV, scikit-image or tifffile have read the file, all is right.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 pillow==12.3.0 imagecodecs==2026.3.6 tifffile==2026.3.3 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import cv2
import imagecodecs
import numpy as np
import PIL
import tifffile
from PIL import Image


def through_png(pixels):
    cv2.imwrite("copy.png", pixels)
    return cv2.imread("copy.png", cv2.IMREAD_UNCHANGED)


steps = {
    "OpenCV, resize": lambda pixels: cv2.resize(pixels, (48, 32), interpolation=cv2.INTER_AREA),
    "OpenCV, cvtColor": lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR),
    "OpenCV, normalize": lambda pixels: cv2.normalize(pixels, None, 0, 65535, cv2.NORM_MINMAX, cv2.CV_32F),
    "OpenCV, imwrite": through_png,
    "OpenCV, blobFromImage": lambda pixels: cv2.dnn.blobFromImage(pixels),
    "imagecodecs, JPEG 2000": lambda pixels: imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(pixels)),
}
rows, columns = np.mgrid[:64, :96]
ramp = ((rows + columns) * 400).astype(np.uint16)
print(f"OpenCV {cv2.__version__}, imagecodecs {imagecodecs.__version__}, Pillow {PIL.__version__}; levels of 65535 from the right ones, greatest:")
far = {}
for order, name in (("<", "little-endian"), (">", "big-endian")):
    tifffile.imwrite("photo.tif", ramp, byteorder=order)
    pixels = np.asarray(Image.open("photo.tif"))
    assert np.array_equal(pixels, ramp)
    for reader in (tifffile.imread, lambda file: cv2.imread(file, cv2.IMREAD_UNCHANGED)):
        assert np.array_equal(reader("photo.tif"), ramp) and reader("photo.tif").dtype.isnative
    print(f"a {name} TIFF, read by Pillow as {pixels.dtype.str}:")
    for step, apply in steps.items():
        far[order, step] = np.abs(apply(pixels).astype(float) - apply(ramp)).max()
        print(f"  {step}: {far[order, step]:.0f}")
for (order, step), levels in far.items():
    assert levels > 30000 if order == ">" else levels == 0, (order, step)
means = [cv2.mean(pixels)[0], ramp.mean()]
floats = cv2.resize(ramp.astype(">f4"), (48, 32))
print(f"its mean is {means[0]:.0f} for OpenCV and {means[1]:.0f}; as >f4 its greatest value is {floats.max():.2g}")
assert abs(means[0] / means[1] - 1) < 0.05
PYTHON_CODE
