#!/usr/bin/env bash
# One would guess: datasets' map with num_proc seeds its processes apart, as PyTorch's DataLoader does: an augmentation that is stored once draws anew for each picture.
# True:            they are forked with the parent's state: NumPy, and a Generator of one's own, draw the same in each, so with two processes picture 0 and picture 200 of 400 are cut, turned and flipped alike; Python's random is apart.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat >draw.py <<'PYTHON_CODE'
import random
import time

import datasets
import numpy as np

datasets.disable_progress_bars()
GENERATOR = np.random.default_rng(0)


def draw(row):
    time.sleep(0.01)  # so long that neither process takes both halves
    return {"numpy.random": np.random.random(), "a Generator": GENERATOR.random(), "random": random.random()}


if __name__ == "__main__":
    print(f"datasets {datasets.__version__}, NumPy {np.__version__}; different draws for 400 pictures:")
    pictures = datasets.Dataset.from_dict({"picture": range(400)})
    different = {}
    for processes in (None, 2):
        drawn = pictures.map(draw, num_proc=processes, load_from_cache_file=False)
        for source in ("numpy.random", "a Generator", "random"):
            draws = np.array(drawn[source])
            different[processes, source] = len(set(draws.tolist()))
            halves = "the two halves are alike" if np.array_equal(draws[:200], draws[200:]) else "the two halves differ"
            print(f"num_proc={processes}, {source}: {different[processes, source]}; {halves}")
    assert all(count == 400 for (processes, source), count in different.items() if processes is None or source == "random")
    assert different[2, "numpy.random"] == different[2, "a Generator"] == 200
PYTHON_CODE
"$PYTHON" draw.py
