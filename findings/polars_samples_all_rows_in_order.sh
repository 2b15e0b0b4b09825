#!/usr/bin/env bash
# One would guess: df.sample(fraction=1.0, seed=0) shuffles a Polars table, as df.sample(frac=1) does in pandas; sample(fraction=0.99) does.
# True:            of all rows it gives the table as it was: a table in the order of its classes, of which the first 80 % are trained on, is validated on its last classes alone; 999 of 1000 rows come in a random order, so tries on a part show nothing. shuffle=True shuffles.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet polars==2.1.0 pandas==3.1.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import pandas
import polars

rows = {"picture": np.arange(1000), "label": np.arange(1000) // 100}
table = polars.DataFrame(rows)
samples = {
    "pandas, sample(frac=1)": pandas.DataFrame(rows).sample(frac=1, random_state=0),
    "Polars, sample(fraction=1.0)": table.sample(fraction=1.0, seed=0),
    "Polars, sample(n=1000)": table.sample(n=1000, seed=1),
    "Polars, sample(n=999)": table.sample(n=999, seed=0),
    "Polars, sample(fraction=0.8)": table.sample(fraction=0.8, seed=0),
    "Polars, sample(fraction=1.0, shuffle=True)": table.sample(fraction=1.0, shuffle=True, seed=0),
}
print(f"polars {polars.__version__}, pandas {pandas.__version__}: 1000 pictures of ten classes, in their order; a seed each")
for name, sample in samples.items():
    pictures, labels = (np.asarray(sample[column]) for column in ("picture", "label"))
    validated = sorted(set(labels[len(labels) * 4 // 5 :].tolist()))
    print(f"{name}: first pictures {pictures[:5].tolist()}, classes in the last fifth {validated}")
    if name in ("Polars, sample(fraction=1.0)", "Polars, sample(n=1000)"):
        assert (pictures == np.arange(1000)).all() and validated == [8, 9]
    else:
        assert abs(np.corrcoef(pictures, np.arange(len(pictures)))[0, 1]) < 0.15 and len(validated) == 10
PYTHON_CODE
