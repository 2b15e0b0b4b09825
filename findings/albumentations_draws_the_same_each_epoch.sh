#!/usr/bin/env bash
# One would guess: an albumentations Compose in a DataLoader draws anew for each picture, worker and epoch, at the latest where no seed is given: worker processes are seeded apart by PyTorch, as torchvision's transforms are.
# True:            it holds generators of its own, which every worker copies, each epoch from the main process, where they never move: with two workers each crop and flip is used twice, with eight eight times, and every epoch has the very draws of the first, with shuffle=True on other pictures. 1.4.18 and before drew apart.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet albumentations==2.0.8 torch==2.14.1 torchvision==0.29.1 opencv-python-headless==4.14.0.94 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat > draws.py <<'PYTHON_CODE'
import albumentations
import numpy as np
import torch
from torchvision.transforms import v2

# Each pixel is its own number, so the upper left one of a crop tells where it was cut and whether it was flipped.
PIXELS = np.arange(500 * 500, dtype=np.float32).reshape(500, 500, 1)


class Pictures(torch.utils.data.Dataset):
    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return self.transform(PIXELS)


def by_albumentations(seed):
    transform = albumentations.Compose([albumentations.RandomCrop(8, 8), albumentations.HorizontalFlip()], seed=seed)
    return lambda pixels: float(transform(image=pixels)["image"][0, 0, 0])


def by_torchvision():
    transform = v2.Compose([v2.RandomCrop(8), v2.RandomHorizontalFlip()])
    return lambda pixels: float(transform(torch.from_numpy(pixels).permute(2, 0, 1))[0, 0, 0])


def epochs(transform, workers, **options):
    loader = torch.utils.data.DataLoader(Pictures(transform), 4, num_workers=workers, multiprocessing_context="fork" if workers else None, **options)
    return [torch.cat(list(loader)).tolist() for _ in range(3)]


print(f"albumentations {albumentations.__version__}, torch {torch.__version__}: random crops and flips of 64 pictures, three epochs")
for name, make in {"torchvision": by_torchvision, "albumentations": lambda: by_albumentations(None), "albumentations, seed=1": lambda: by_albumentations(1)}.items():
    for workers in (0, 2, 8):
        first, *others = epochs(make(), workers)
        alike = all(other == first for other in others)
        print(f"{name}, {workers} workers: {len(set(first))} different draws in an epoch, all epochs {'alike' if alike else 'different'}")
        repeated = name != "torchvision" and workers > 0
        assert alike == repeated and ((len(set(first)) <= 64 // workers) if repeated else len(set(first)) > 60)
first, *others = epochs(by_albumentations(None), 2, persistent_workers=True)
print(f"albumentations, 2 workers that are kept: {len(set(first))} different draws in an epoch, all epochs {'alike' if first in others else 'different'}")
assert len(set(first)) <= 32 and first not in others
PYTHON_CODE
"$PYTHON" -W ignore draws.py
