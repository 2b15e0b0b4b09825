#!/usr/bin/env bash
# One would guess: accelerate launch program.py computes on a CPU as python program.py does, on all cores.
# True:            in one thread, without a word, where it finds no GPU; with --cpu --num_processes 1, which says so, in as many as there are physical cores.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet accelerate==1.15.0 torch==2.14.1 numpy==2.3.5
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
printf 'import torch\n\nprint(torch.get_num_threads())\n' > program.py
"$PYTHON" - <<'PYTHON_CODE'
import os
import subprocess
import sys
from importlib.metadata import version

import psutil

cores = len(os.sched_getaffinity(0))
print(f"accelerate {version('accelerate')}, torch {version('torch')}, {cores} cores, {psutil.cpu_count(logical=False)} of them physical")
if cores < 2:
    sys.exit("two cores are needed")
kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_", "ACCELERATE_"))}
environment = kept | {"HF_HOME": os.getcwd(), "CUDA_VISIBLE_DEVICES": ""}
seen = {}
for words in (["program.py"], ["-m", "accelerate.commands.launch", "program.py"],
              ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "program.py"]):
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=True)
    name = " ".join(words).replace("-m accelerate.commands.launch", "accelerate launch")
    seen[name] = int(done.stdout)
    print(f"{name}: {seen[name]} threads; threads are mentioned: {'threads' in done.stderr}")
assert seen["program.py"] > 1 == seen["accelerate launch program.py"]
PYTHON_CODE
