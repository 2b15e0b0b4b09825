#!/usr/bin/env bash
# One would guess: FixedShapeTensorArray.from_numpy_ndarray holds the pictures of a batch as they are, also of a view, or refuses it.
# True:            of a batch that was flipped from left to right, batch[:, :, ::-1], other pictures come back; flipped upside down it is refused, in colours it is right.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet pyarrow==26.0.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import pyarrow as pa

batch = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
views = {"as it is": batch, "colours, [..., ::-1]": batch[..., ::-1], "left to right, [:, :, ::-1]": batch[:, :, ::-1], "upside down, [:, ::-1]": batch[:, ::-1]}
print(f"pyarrow {pa.__version__}: values of a batch that come back as they were")
found = {}
for name, pictures in views.items():
    try:
        again = pa.FixedShapeTensorArray.from_numpy_ndarray(pictures).to_numpy_ndarray()
        found[name] = f"{np.mean(again == pictures):.0%}"
    except pa.ArrowInvalid as error:
        found[name] = f"refused: {error}"
    print(f"{name}: {found[name]}")
whole, colours, flipped, upside_down = found.values()
assert whole == colours == "100%" and flipped != "100%" and upside_down.startswith("refused")
PYTHON_CODE
