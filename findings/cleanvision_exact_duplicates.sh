#!/usr/bin/env bash
# One would guess: CleanVision's exact duplicates are pictures whose pixels are the same, in whatever file.
# True:            it compares bytes as they are stored: two GIFs or PNGs of one drawing in other palettes, red and blue, are exact duplicates, so are grey pictures of other widths; one picture as palette and as colours is none.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet cleanvision==0.3.7 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat >duplicates.py <<'PYTHON_CODE'
import contextlib
import importlib.metadata
import io
import pathlib

import numpy as np
from cleanvision import Imagelab
from PIL import Image

if __name__ == "__main__":
    random = np.random.default_rng(0)
    pathlib.Path("photos").mkdir()
    drawing = random.integers(0, 2, (40, 60), dtype=np.uint8)
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        picture = Image.new("P", (60, 40))
        picture.putdata(drawing.ravel().tolist())
        picture.putpalette([255, 255, 255, *colour])
        picture.save(f"photos/{name}.png")
        picture.save(f"photos/{name}.gif")
        picture.convert("RGB").save(f"photos/{name}_without_palette.png")
    grey = random.integers(0, 256, 2400, dtype=np.uint8)
    Image.fromarray(grey.reshape(40, 60)).save("photos/wide.png")
    Image.fromarray(grey.reshape(60, 40)).save("photos/high.png")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        lab = Imagelab(data_path="photos")
        lab.find_issues({"exact_duplicates": {}})
    sets = [sorted(pathlib.Path(file).name for file in files) for files in lab.info["exact_duplicates"]["sets"]]
    print(f"CleanVision {importlib.metadata.version('cleanvision')} on {len(list(pathlib.Path('photos').iterdir()))} pictures, exact duplicates:", *sets, sep="\n")
    pixels = {name: np.asarray(Image.open(f"photos/{name}").convert("RGB")) for name in ("red.png", "blue.png", "red_without_palette.png")}
    print(f"red.png and blue.png are up to {np.abs(pixels['red.png'].astype(int) - pixels['blue.png']).max()} levels apart")
    assert np.array_equal(pixels["red.png"], pixels["red_without_palette.png"])
    assert sorted(sets) == [["blue.gif", "blue.png", "red.gif", "red.png"], ["high.png", "wide.png"]]
PYTHON_CODE
"$PYTHON" duplicates.py
