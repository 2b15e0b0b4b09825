#!/usr/bin/env bash
# One would guess: MONAI's transforms give a new picture, so pictures held in memory are the same in each epoch, whatever is drawn for them.
# True:            some write into the one they are given: RandCoarseDropout's holes stay, of one hole of a sixteenth an epoch, a third of the picture is left after 20, and NormalizeIntensity(channel_wise=True) by given means normalizes what it has normalized; RandRotate90, RandFlip and ScaleIntensity give new ones. CacheDataset copies first, Dataset does not, in a DataLoader without workers or with kept ones.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet monai==1.6.1 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat > epochs.py <<'PYTHON_CODE'
import monai
import numpy as np
import torch
from monai import transforms
from monai.data import CacheDataset, DataLoader, Dataset

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
print(f"monai {monai.__version__}, torch {torch.__version__}: eight noise pictures of 3 × 64 × 64 in memory, levels 1…255")
monai.utils.set_determinism(0)


def pictures():
    return [np.random.default_rng(number).integers(1, 256, (3, 64, 64)).astype(np.float32) for number in range(8)]


def means_by_epoch(transform, measure, dataset=Dataset, epochs=20, **options):
    loader = DataLoader(dataset(pictures(), transform), batch_size=8, **options)
    return [round(float(measure(next(iter(loader)))), 2) for _ in range(epochs)]


def shares(**options):
    holes = transforms.Compose([transforms.RandCoarseDropout(holes=1, spatial_size=16, fill_value=0, prob=1.0)])
    return means_by_epoch(holes, lambda batch: (batch != 0).float().mean(), **options)


def means(**options):
    normalize = transforms.NormalizeIntensity(subtrahend=MEAN, divisor=STD, channel_wise=True)
    return means_by_epoch(transforms.Compose([normalize]), torch.mean, epochs=4, **options)


fresh, kept, cached = shares(), shares(num_workers=1, persistent_workers=True), shares(dataset=lambda data, transform: CacheDataset(data, transform, progress=False))
print(f"RandCoarseDropout, one hole of 16 × 16: what is left of the pictures in each epoch\n  Dataset: {fresh}\n  Dataset, a kept worker: {kept}\n  CacheDataset: {cached}")
once, copied = means(), means(dataset=lambda data, transform: CacheDataset(data, transform, progress=False))
print(f"NormalizeIntensity by ImageNet's means, channel_wise: mean of the pictures in each epoch\n  Dataset: {once}\n  CacheDataset: {copied}")
assert fresh[0] > 0.9 and fresh[-1] < 0.5 and kept[-1] < 0.5 and min(cached) > 0.9
assert abs(once[0]) < 0.5 and once[1] < -1.5 and len(set(copied)) == 1
untouched, given = pictures()[0], pictures()[0]
for transform in (transforms.RandFlip(1.0, 1), transforms.RandRotate90(1.0), transforms.ScaleIntensity(), transforms.NormalizeIntensity(MEAN[0], STD[0])):
    transform(given)
assert (given == untouched).all()
PYTHON_CODE
"$PYTHON" -W ignore epochs.py
