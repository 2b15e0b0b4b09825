#!/usr/bin/env bash
# One would guess: accelerator.log writes a NumPy number to TensorBoard as it writes a float, or says that it cannot.
# True:            np.float32 and NumPy's integers are dropped without a word, as None is, while np.float64 and tensors are written: a loss or an accuracy of that type has no curve, and nothing tells until the run is over.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet accelerate==1.15.0 tensorboard==2.21.0 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import accelerate
import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

values = {
    "float": 0.5,
    "tensor": torch.tensor(0.5),
    "float64": np.float64(0.5),
    "float32": np.float32(0.5),
    "float16": np.float16(0.5),
    "int64": np.array([1, 2]).sum(),
}
warnings.simplefilter("error")
accelerator = accelerate.Accelerator(cpu=True, log_with="tensorboard", project_dir="logs")
accelerator.init_trackers("run")
accelerator.log(values, step=1)
accelerator.end_training()
with SummaryWriter("logs/plain") as writer:
    for name, value in values.items():
        writer.add_scalar(name, value, 1)
print(f"accelerate {accelerate.__version__}: {len(values)} numbers are logged; what TensorBoard has")
kept = {}
for folder in ("run", "plain"):
    events = EventAccumulator(f"logs/{folder}")
    events.Reload()
    kept[folder] = sorted(events.Tags()["scalars"])
    print(f"{'accelerator.log' if folder == 'run' else 'SummaryWriter'}: {', '.join(kept[folder])}")
assert kept == {"run": ["float", "float64", "tensor"], "plain": sorted(values)}
PYTHON_CODE
