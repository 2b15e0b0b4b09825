#!/usr/bin/env bash
# One would guess: perceptual hashes tell different pictures apart, whatever their depth, or refuse what they cannot see.
# True:            imagehash cuts grey pictures of 16 bits off at 255 and drops transparency: radiographs, and black drawings on a transparent ground, are all white or all black, one hash for all of them; CleanVision, on top of it, calls them near duplicates of each other.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet imagehash==4.3.2 cleanvision==0.3.7 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat >hashes.py <<'PYTHON_CODE'
import contextlib
import importlib.metadata
import io
import pathlib

import imagehash
import numpy as np
from cleanvision import Imagelab
from PIL import Image

HASHES = (imagehash.average_hash, imagehash.phash, imagehash.dhash, imagehash.whash)


def near_duplicates(folder):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        lab = Imagelab(data_path=folder)
        lab.find_issues({"near_duplicates": {}})
    return int(lab.issues["is_near_duplicates_issue"].sum())


if __name__ == "__main__":
    print(f"imagehash {importlib.metadata.version('imagehash')}, CleanVision {importlib.metadata.version('cleanvision')}; ten different pictures in")
    random = np.random.default_rng(0)
    kinds = {"8 bits": [], "16 bits": [], "transparency": []}
    for _ in range(10):
        coarse = Image.fromarray(random.integers(0, 256, (6, 8), dtype=np.uint8))
        grey = coarse.resize((320, 240), Image.Resampling.BICUBIC)
        kinds["8 bits"].append(grey)
        kinds["16 bits"].append(Image.fromarray(np.asarray(grey).astype(np.uint16) * 16 + 256))
        kinds["transparency"].append(Image.merge("RGBA", (*[Image.new("L", grey.size)] * 3, grey.point(lambda level: 255 * (level > 127)))))
    found = {}
    for kind, pictures in kinds.items():
        folder = pathlib.Path(kind)
        folder.mkdir()
        for number, picture in enumerate(pictures):
            picture.save(folder / f"{number}.png")
        opened = [Image.open(folder / f"{number}.png") for number in range(10)]
        different = [len({str(hash_of(picture)) for picture in opened}) for hash_of in HASHES]
        found[kind] = different, near_duplicates(kind)
        names = ", ".join(f"{hash_of.__name__} {count}" for hash_of, count in zip(HASHES, different, strict=True))
        print(f"{kind}: different hashes: {names}; CleanVision finds {found[kind][1]} near duplicates")
    assert found == {"8 bits": ([10] * 4, 0), "16 bits": ([1] * 4, 10), "transparency": ([1] * 4, 10)}
PYTHON_CODE
"$PYTHON" hashes.py
