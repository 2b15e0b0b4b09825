#!/usr/bin/env bash
# One would guess: DALI takes a picture without a layout, as readers.numpy and external_source give it, for height, width, channels in every operator, or refuses it.
# True:            resize, crop, flip, hue and normalize do; gaussian_blur and laplacian take the three colours for a third direction of space and blur red into green into blue: up to 88 levels from the blur, and a photo is nearly grey. With layout="HWC", or decoded by DALI itself, it is right to a level.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet nvidia-dali-cuda120==2.4.0 opencv-python-headless==5.0.0.93 scikit-image==0.26.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W ignore - <<'PYTHON_CODE'
import cv2
import numpy as np
import nvidia.dali
import skimage.data
from nvidia.dali import fn

photo = skimage.data.astronaut()
np.save("photo.npy", photo)
cv2.imwrite("photo.png", photo[..., ::-1])


def by_dali(read, operator, **options):
    pipeline = nvidia.dali.Pipeline(batch_size=1, num_threads=1, device_id=None)
    with pipeline:
        pipeline.set_outputs(operator(read(), **options))
    pipeline.build()
    (output,) = pipeline.run()
    return np.array(output.at(0)).astype(int)


readers = {
    "readers.numpy": lambda: fn.readers.numpy(files=["photo.npy"], file_root="."),
    "external_source": lambda: fn.external_source(lambda: [photo], batch=True),
    'external_source, layout="HWC"': lambda: fn.external_source(lambda: [photo], batch=True, layout="HWC"),
    "decoders.image": lambda: fn.decoders.image(fn.readers.file(files=["photo.png"], file_root=".")[0]),
}
print(f"DALI {nvidia.dali.__version__} on the CPU, OpenCV {cv2.__version__}: a photo of {photo.shape}")
blurred, colourful = cv2.GaussianBlur(photo, (5, 5), 1.0).astype(int), np.ptp(photo.astype(int), axis=2).mean()
for name, read in readers.items():
    blur = by_dali(read, fn.gaussian_blur, window_size=5, sigma=1.0)
    away, colours = np.abs(blur - blurred), np.ptp(blur, axis=2).mean()
    print(f"{name}: gaussian_blur is {away.max()} levels at most from OpenCV's; its greatest and least colour are {colours:.0f} apart on average, the photo's {colourful:.0f}")
    unknown = name in ("readers.numpy", "external_source")
    assert (away.max() > 60 and colours < 0.7 * colourful) if unknown else (away.max() <= 1 and colours > 0.9 * colourful)
    assert (by_dali(read, fn.flip, horizontal=1) == photo[:, ::-1]).all()
    assert by_dali(read, fn.resize, resize_x=100, resize_y=80).shape == (80, 100, 3)
PYTHON_CODE
