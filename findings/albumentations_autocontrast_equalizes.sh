#!/usr/bin/env bash
# One would guess: albumentations' AutoContrast stretches each channel to 0…255, as Pillow's autocontrast and torchvision's, so a photo that has black and white already stays as it is.
# True:            its default, method="cdf", described as the smoother one, is histogram equalization: such a photo is up to 143 levels away, and within 8 of Pillow's equalize; a policy that draws both has one of them twice. method="pil" is right.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet albumentations==2.0.8 opencv-python-headless==4.14.0.94 scikit-image==0.26.0 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W ignore - <<'PYTHON_CODE'
import albumentations
import numpy as np
import PIL
import skimage.data
from PIL import Image, ImageOps

print(f"albumentations {albumentations.__version__}, Pillow {PIL.__version__}: levels from the photo itself, greatest and mean")
transforms = {
    'AutoContrast(), its default "cdf"': albumentations.AutoContrast(p=1),
    'AutoContrast(method="pil")': albumentations.AutoContrast(method="pil", p=1),
    "Equalize()": albumentations.Equalize(p=1),
}
for name in ("rocket", "coffee"):
    photo = getattr(skimage.data, name)()
    assert photo.min((0, 1)).max() == 0 and photo.max((0, 1)).min() == 255  # black and white in each channel
    changed = {"Pillow's autocontrast": np.asarray(ImageOps.autocontrast(Image.fromarray(photo)))}
    changed |= {title: transform(image=photo)["image"] for title, transform in transforms.items()}
    for title, pixels in changed.items():
        away = np.abs(pixels.astype(int) - photo)
        print(f"{name}, {title}: {away.max()}, {away.mean():.1f}")
    by_pillow, default, by_method, equalized = (pixels.astype(int) for pixels in changed.values())
    print(f"{name}, the default beside Pillow's equalize: {np.abs(default - np.asarray(ImageOps.equalize(Image.fromarray(photo))).astype(int)).max()} at most")
    assert (by_pillow == photo).all() and np.abs(by_method - photo).max() <= 1
    assert np.abs(default - photo).max() > 100 and np.abs(default - photo).mean() > 40
    assert np.abs(default - np.asarray(ImageOps.equalize(Image.fromarray(photo))).astype(int)).max() < 10
PYTHON_CODE
