#!/usr/bin/env bash
# One would guess: dataset[predicted != label], or select of it, gives the rows where it is true, as in NumPy, pandas and PyTorch, or is refused.
# True:            datasets takes True for row 1 and False for row 0: as many rows as the mask is long, all of them the first two pictures. select refuses a list of bools, but not an array of them.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0 pandas==3.1.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import datasets
import numpy as np
import pandas as pd

data = datasets.Dataset.from_dict({"picture": [f"{number}.jpg" for number in range(8)], "label": [0, 1, 2, 3, 0, 1, 2, 3]})
label = np.array(data["label"])
predicted = np.array([0, 1, 2, 3, 0, 1, 3, 2])
wrong = predicted != label
print(f"datasets {datasets.__version__}, NumPy {np.__version__}, pandas {pd.__version__}; wrong are 6.jpg and 7.jpg")
right = np.array(data["picture"])[wrong].tolist()
assert right == pd.DataFrame(data.to_dict())[wrong]["picture"].tolist() == ["6.jpg", "7.jpg"]
found = {
    "dataset[array]": data[wrong]["picture"],
    "dataset[list]": data[wrong.tolist()]["picture"],
    "dataset[Series]": data[pd.Series(wrong)]["picture"],
    "select(array)": data.select(wrong)["picture"][:],
    "select(np.flatnonzero(array))": data.select(np.flatnonzero(wrong))["picture"][:],
}
for name, pictures in found.items():
    print(f"{name}: {', '.join(pictures)}")
try:
    data.select(wrong.tolist())
except TypeError as error:
    print(f"select(list): {error}")
else:
    raise SystemExit("select takes a list of bools")
assert found.pop("select(np.flatnonzero(array))") == right
assert all(pictures == ["0.jpg"] * 6 + ["1.jpg"] * 2 for pictures in found.values())
PYTHON_CODE
