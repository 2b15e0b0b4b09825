#!/usr/bin/env bash
# One would guess: gc.freeze(), which Python's documentation recommends before a fork and which saves the search through all that was imported, changes nothing that a program prints.
# True:            with Triton 3.9, which PyTorch 2.15 brings, thirty lines on stderr at the end, "nanobind: leaked 4 instances!": objects that are frozen are never collected, and its binding counts what is left. torch._dynamo and transformers.modeling_utils import it, torch alone does not. atexit.register(gc.unfreeze) ends it; 3.8 says nothing.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet triton==3.9.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import subprocess
import sys
from importlib.metadata import version

print(f"Triton {version('triton')}, Python {sys.version.split()[0]}")
programs = {
    "import triton": (0, 0),
    "import gc, triton; gc.freeze()": (20, 60),
    "import gc; gc.freeze(); import triton": (0, 0),
    "import atexit, gc, triton; gc.freeze(); atexit.register(gc.unfreeze)": (0, 0),
}
for program, (fewest, most) in programs.items():
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    said = ended.stderr.splitlines()
    print(f"{program}: {len(said)} lines on stderr, {said[:1]}")
    assert fewest <= len(said) <= most and not ended.stdout and (not said or said[0].startswith("nanobind: leaked"))
PYTHON_CODE
