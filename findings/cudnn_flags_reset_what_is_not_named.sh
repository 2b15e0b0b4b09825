#!/usr/bin/env bash
# One would guess: with torch.backends.cudnn.flags(deterministic=True): changes that one switch.
# True:            what is not named gets a default: cuDNN is off (enabled=False), benchmark off, and TF32, which was forbidden, is allowed.
# PYTHON=python3 takes the packages that are there, for a machine without a network; with an NVIDIA GPU it looks there too.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import torch
from torch.backends import cudnn

cudnn.benchmark, cudnn.allow_tf32 = True, False
names = ("enabled", "benchmark", "deterministic", "allow_tf32")
state = lambda: {name: getattr(cudnn, name) for name in names}
outside = state()
with cudnn.flags(deterministic=True):
    inside = state()
print(f"torch {torch.__version__}: outside {outside}")
print(f"within flags(deterministic=True): {inside}")
assert inside == {"enabled": False, "benchmark": False, "deterministic": True, "allow_tf32": True} and state() == outside
if torch.cuda.is_available():
    x, w = torch.randn(16, 64, 56, 56, device="cuda"), torch.randn(64, 64, 3, 3, device="cuda")
    right = torch.nn.functional.conv2d(x.double(), w.double())
    error = lambda: ((torch.nn.functional.conv2d(x, w).double() - right).norm() / right.norm()).item()
    before = error()
    with cudnn.flags(enabled=True, deterministic=True):
        within = error()
    print(f"{torch.cuda.get_device_name()}: a float32 convolution is {before:.1e} from float64's, within flags(enabled=True, deterministic=True) {within:.1e}")
    assert within > 20 * before
PYTHON_CODE
