#!/usr/bin/env bash
# One would guess: two parquet files whose ClassLabels list the same names in another order are refused, or their labels are aligned by name.
# True:            load_dataset takes the first file's names for both: what the second calls cat becomes dog. concatenate_datasets refuses.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import datasets
from datasets import ClassLabel, Dataset, load_dataset

datasets.disable_progress_bars()
words = ["cat", "cat", "dog"]
for name, order in (("a.parquet", ["cat", "dog"]), ("b.parquet", ["dog", "cat"])):
    Dataset.from_dict({"label": words}).cast_column("label", ClassLabel(names=order)).to_parquet(name)
print(f"datasets {datasets.__version__}: both files say {words}")
for streaming in (False, True):
    both = load_dataset("parquet", data_files=["a.parquet", "b.parquet"], split="train", streaming=streaming, cache_dir="cache")
    read = [both.features["label"].int2str(row["label"]) for row in both]
    print(f"read together, streaming {streaming}: {read}")
    assert read == words + ["dog", "dog", "cat"]
try:
    datasets.concatenate_datasets([Dataset.from_parquet(name, cache_dir="cache") for name in ("a.parquet", "b.parquet")])
except ValueError as error:
    print(f"concatenate_datasets: {str(error)[:60]}…")
else:
    raise AssertionError("concatenate_datasets took both")
PYTHON_CODE
