#!/usr/bin/env bash
# One would guess: kornia's Resize((224, 224), antialias=True) gives what torchvision's and Pillow's give, to a level or two: bilinear, antialiased.
# True:            the layer has align_corners=True, which kornia's function resize has not, so pixels move, outwards by up to half of the old pixels that make a new one: dozens of levels away. With align_corners=False up to 31 remain, as it blurs by a Gaussian first. Without antialias and align_corners it is torchvision's without antialias.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet kornia==0.9.0 torch==2.14.1 torchvision==0.29.1 scikit-image==0.26.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W ignore - <<'PYTHON_CODE'
import kornia
import skimage.data
import torch
from torchvision.transforms.v2.functional import resize

photo = torch.from_numpy(skimage.data.astronaut().copy()).permute(2, 0, 1)[None].float() / 255
print(f"kornia {kornia.__version__}, torch {torch.__version__}: a photo of 512 × 512; levels of 255 from torchvision's resize, greatest and mean")
for side in (112, 224, 256):
    away = {}
    for name, antialias, options in (
        ("antialias=True", True, {}),
        ("antialias=True, align_corners=False", True, {"align_corners": False}),
        ("antialias=False, align_corners=False", False, {"align_corners": False}),
    ):
        by_kornia = kornia.augmentation.Resize((side, side), antialias=antialias, **options)(photo)
        difference = (by_kornia - resize(photo, [side, side], antialias=antialias)).abs() * 255
        away[name] = difference.max().item(), difference.mean().item()
        print(f"{side} × {side}, {name}: {away[name][0]:.0f}, {away[name][1]:.2f}")
    (moved, moved_mean), (blurred, blurred_mean), (plain, _) = away.values()
    assert moved > 50 and moved_mean > 2 and 10 < blurred < 40 and blurred_mean < 0.6 * moved_mean and plain < 0.1
    by_function = kornia.geometry.resize(photo, (side, side), antialias=True)
    assert torch.allclose(by_function, kornia.augmentation.Resize((side, side), antialias=True, align_corners=False)(photo), atol=1e-4)
PYTHON_CODE
