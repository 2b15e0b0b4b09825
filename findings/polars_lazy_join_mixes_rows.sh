#!/usr/bin/env bash
# One would guess: a left join keeps the left table's rows in their order, as Polars' eager join does: a lazy one only plans it better.
# True:            lazy, as after scan_parquet, it gives the rows in another order: labels that are joined to a list of files and laid beside its features belong to other pictures. maintain_order="left" keeps it.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet polars==2.1.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import polars as pl

rng = np.random.default_rng(0)
files = pl.DataFrame({"file": rng.permutation(1000), "row": np.arange(1000)})
labels = pl.DataFrame({"file": rng.permutation(1000), "label": np.arange(1000)})
joined = {
    "eager": files.join(labels, on="file", how="left"),
    "lazy": files.lazy().join(labels.lazy(), on="file", how="left").collect(),
    'lazy, maintain_order="left"': files.lazy().join(labels.lazy(), on="file", how="left", maintain_order="left").collect(),
}
print(f"polars {pl.__version__}: of 1000 rows of the left table in their place")
for name, table in joined.items():
    kept = float((table["row"].to_numpy() == np.arange(1000)).mean())
    print(f"{name}: {kept:.1%}")
    assert (kept < 0.5) if name == "lazy" else kept == 1
assert joined["lazy"].sort("row").equals(joined["eager"])
PYTHON_CODE
