#!/usr/bin/env bash
# One would guess: cast_column to ClassLabel refuses a word that is not among the names, and a number that is not below their count.
# True:            a word that looks like a number is taken for the class of that number ("3" is the fourth class, "-1" is none), and integers are not looked at: class 7 of two goes through, and fails, or does not, when it is used.
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

datasets.disable_progress_bars()
names = datasets.ClassLabel(names=["apple", "pear", "plum", "fig"])


def labels(values, names):
    data = datasets.Dataset.from_dict({"label": values})
    return data.cast_column("label", names)["label"][:]


print(f"datasets {datasets.__version__}, classes {names.names}")
for values in (["apple", "3", "pear"], ["-1", "0 "], [0, 7, 1000]):
    print(f"{values} become {labels(values, names)}")
assert labels(["apple", "3", "pear"], names) == [0, 3, 1] and labels(["-1", "0 "], names) == [-1, 0]
assert labels([0, 7, 1000], names) == [0, 7, 1000]
try:
    labels(["zebra"], names)
    raise SystemExit("zebra is taken")
except ValueError as error:
    print("['zebra']:", error)
PYTHON_CODE
