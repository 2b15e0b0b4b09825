#!/usr/bin/env bash
# One would guess: splitfolders, run again into the same folder, with another seed or after a photo was added, makes the new split, or refuses as the folder is not empty.
# True:            it writes the new split over the old one and says nothing: with one photo more in a class and the same seed a third of all photos lie in train and in val, where nearly the whole of val is trained on.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet split-folders==0.6.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import contextlib
import io
import shutil
from importlib.metadata import version
from pathlib import Path

import splitfolders

for name in ("cat", "dog"):
    Path("photos", name).mkdir(parents=True)
    for number in range(100):
        Path("photos", name, f"{number:03d}.jpg").write_text(f"{name} {number}")


def split(seed):
    """The photos of train and of val that lie in split/ afterwards."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        splitfolders.ratio("photos", output="split", seed=seed, ratio=(0.8, 0.2))
    assert "exist" not in said.getvalue() and "overwrit" not in said.getvalue()
    return [{path.relative_to(part) for path in Path(part).rglob("*.jpg")} for part in ("split/train", "split/val")]


def said(run, train, val):
    print(f"{run}: {len(train)} in train, {len(val)} in val, {len(train & val)} in both")
    return len(train & val)


print(f"split-folders {version('split-folders')}, 80 and 20 % of 200 photos of two classes")
assert said("once, seed 1", *split(1)) == 0
assert said("once more, seed 1", *split(1)) == 0
assert said("once more, seed 2", *split(2)) > 50
shutil.rmtree("split")
split(1)
for name in ("cat", "dog"):
    Path("photos", name, "000a.jpg").write_text(f"{name}, one more")
assert said("seed 1, and once more with a photo more in each class", *split(1)) > 50
shutil.rmtree("split")
assert said("the same into an empty folder", *split(1)) == 0
PYTHON_CODE
