#!/usr/bin/env bash
# One would guess: safetensors gives the same file for the same tensors and the same metadata.
# True:            metadata comes in another order each time: with four entries, a dozen saves have several SHA-256; what compares or deduplicates files by hash takes them for new.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import hashlib

import numpy as np
import safetensors
from safetensors.numpy import load, save

tensors = {"conv1.weight": np.zeros((2, 3), np.float32), "fc.bias": np.ones(4, np.float32)}
entries = {"format": "pt", "epoch": "90", "recipe": "a1", "top1": "0.77"}
print(f"safetensors {safetensors.__version__}: hashes of twenty saves")
hashes = {}
for count in (1, 4):
    metadata = dict(list(entries.items())[:count])
    files = [save(tensors, metadata) for _ in range(20)]
    hashes[count] = {hashlib.sha256(file).hexdigest()[:8] for file in files}
    assert all((load(file)["fc.bias"] == 1).all() for file in files)
    print(f"{count} entries of metadata: {len(hashes[count])} different, {sorted(hashes[count])[:4]}")
assert len(hashes[1]) == 1 and len(hashes[4]) > 1
PYTHON_CODE
