#!/usr/bin/env bash
# One would guess: RandAugment's magnitude 9 turns a picture alike in timm and torchvision, and timm's m15 is stronger than m10.
# True:            9 is 27° in timm, of a scale of 10, and 9° in torchvision, of 30; above 10, timm quietly takes 10.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet timm==1.0.31 torch==2.14.1 torchvision==0.29.1 pillow==12.3.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import timm
import torchvision
from PIL import Image
from timm.data.auto_augment import rand_augment_transform


def degrees(magnitude):
    """How far timm's Rotate turns."""
    seen = []
    (rotate,) = [op for op in rand_augment_transform(f"rand-m{magnitude}-n2", {}).ops if op.name == "Rotate"]
    rotate.prob, rotate.aug_fn = 1, lambda picture, angle, **options: seen.append(abs(angle)) or picture
    rotate(Image.new("RGB", (8, 8)))
    return seen[0]


by_timm = {magnitude: degrees(magnitude) for magnitude in (9, 10, 15, 30)}
space = torchvision.transforms.RandAugment()._augmentation_space(31, (224, 224))
by_torchvision = {magnitude: space["Rotate"][0][magnitude].item() for magnitude in (9, 10, 15, 30)}
print(f"timm {timm.__version__}: rotation by magnitude {by_timm}")
print(f"torchvision {torchvision.__version__}: {by_torchvision}")
assert by_timm == {9: 27, 10: 30, 15: 30, 30: 30} and by_torchvision == {9: 9, 10: 10, 15: 15, 30: 30}
PYTHON_CODE
