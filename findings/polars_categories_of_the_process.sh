#!/usr/bin/env bash
# One would guess: the codes of a Categorical column, by to_physical(), number its words from 0 in the order they come in, as before Polars 2 and as in pandas.
# True:            words are numbered once for the whole process, whatever column they were in: cat and dog are 0 and 1, or 2 and 3 while another column, of places, is categorical too: labels differ from script to script. An Enum has codes of its own.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet polars==2.1.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import polars as pl


def codes(words, kind=pl.Categorical):
    return pl.Series(words).cast(kind).to_physical().to_list()


print(f"polars {pl.__version__}")
alone = codes(["cat", "dog", "cat"])
places = pl.Series(["Ulm", "Bonn"]).cast(pl.Categorical)
beside = codes(["cat", "dog", "cat"])
listed = codes(["cat", "dog", "cat"], pl.Enum(["cat", "dog"]))
print(f"codes of cat, dog, cat: {alone}; while {places.to_list()} are a Categorical: {beside}, as an Enum: {listed}")
assert alone == listed == [0, 1, 0] and beside == [2, 3, 2]
PYTHON_CODE
