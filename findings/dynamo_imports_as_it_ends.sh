#!/usr/bin/env bash
# One would guess: a program that has ended imports nothing any more.
# True:            one that has imported torch._dynamo imports tabulate after its last line: a tabulate.py beside the program is run, and ends it with a traceback if it has no such function.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.3.5
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
printf 'print("tabulate.py of this folder is run")\n\n\ndef tabulate(*arguments, **settings):\n    return ""\n' > tabulate.py
cat > program.py <<'PYTHON_CODE'
import sys

import torch
import torch._dynamo

print(f"torch {torch.__version__}; tabulate imported so far: {'tabulate' in sys.modules}")
print("the last line of the program")
PYTHON_CODE
"$PYTHON" program.py 2>/dev/null | tee said
[ "$(tail -n 2 said)" = "the last line of the program
tabulate.py of this folder is run" ]
