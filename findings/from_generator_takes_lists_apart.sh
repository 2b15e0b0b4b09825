#!/usr/bin/env bash
# One would guess: Dataset.from_generator hands gen_kwargs to the generator as they are; its documentation says that lists are split where num_proc is greater than one.
# True:            a list is always split, and the generator called once for each element with a list of one: of names=["cat", "dog", "fox"], numbered by enumerate, all pictures are class 0, and mean=[0.485, 0.456, 0.406] is [0.485], then [0.456]. Tuples stay.
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
cat >generate.py <<'PYTHON_CODE'
import datasets

datasets.disable_progress_bars()


def pictures(names, mean):
    for label, name in enumerate(names):
        for number in range(2):
            yield {"picture": f"{name}/{number}.jpg", "label": label, "mean": list(mean)}


if __name__ == "__main__":
    print(f"datasets {datasets.__version__}")
    names, mean = ["cat", "dog", "fox"], [0.485, 0.456, 0.406]
    seen = {}
    for kind in (list, tuple):
        arguments = {"names": kind(names), "mean": kind(mean)}
        stored = datasets.Dataset.from_generator(pictures, gen_kwargs=arguments, cache_dir="cache")
        streamed = datasets.IterableDataset.from_generator(pictures, gen_kwargs=arguments)
        by_hand = list(pictures(**arguments))
        for source, rows in (("called by hand", by_hand), ("Dataset", stored), ("IterableDataset", streamed)):
            rows = list(rows)
            seen[kind, source] = [row["label"] for row in rows], [len(row["mean"]) for row in rows]
            print(f"{kind.__name__}, {source}: labels of cat, cat, dog, dog, fox, fox: {seen[kind, source][0]}; the first mean: {rows[0]['mean']}")
    right, apart = ([0, 0, 1, 1, 2, 2], [3] * 6), ([0] * 6, [1] * 6)
    assert seen[list, "called by hand"] == seen[tuple, "Dataset"] == seen[tuple, "IterableDataset"] == right
    assert seen[list, "Dataset"] == seen[list, "IterableDataset"] == apart
PYTHON_CODE
"$PYTHON" generate.py
