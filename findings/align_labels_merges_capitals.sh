#!/usr/bin/env bash
# One would guess: align_labels_with_mapping of datasets renumbers the classes by their names, and with the mapping that the classes have already it changes nothing.
# True:            it lowers all names first: handwritten a and A, which are two classes before and after, get one number, that of the later one; the features still name both, and nothing is said, even where the mapping is the old one.
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
from datasets import ClassLabel, Dataset, Features

datasets.disable_progress_bars()
print(f"datasets {datasets.__version__}: one picture of each class, by name, before and after align_labels_with_mapping")


def aligned(names, wanted):
    features = Features({"label": ClassLabel(names=names)})
    rows = Dataset.from_dict({"label": list(range(len(names)))}, features=features)
    rows = rows.align_labels_with_mapping({name: number for number, name in enumerate(wanted)}, "label")
    assert rows.features["label"].names == wanted
    found = [wanted[label] for label in rows["label"]]
    print(f"{' '.join(names)} → {' '.join(found)}; the features' names are {' '.join(wanted)}")
    return found


letters = ["a", "b", "A", "B"]
assert aligned(letters, letters) == ["A", "B", "A", "B"]
assert aligned(letters, ["A", "a", "B", "b"]) == ["a", "b", "a", "b"]
assert aligned(["cat", "dog"], ["dog", "cat"]) == ["cat", "dog"]
PYTHON_CODE
