#!/usr/bin/env bash
# One would guess: torch.backends.cudnn.benchmark = True holds from the next convolution on.
# True:            for shapes that have been met before, nothing changes: the plan found without it is kept.
# Needs an NVIDIA GPU. PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.11.0
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import json
import subprocess
import sys

import torch
from torch.nn.functional import conv2d
from torch.profiler import ProfilerActivity, profile

SHAPES = [(64, 64, 56, 3), (256, 64, 56, 1), (64, 256, 56, 1), (128, 128, 28, 3), (256, 256, 14, 3), (512, 512, 7, 3)]
PROGRAM = """
import json, sys, torch
from torch.nn.functional import conv2d
from torch.profiler import ProfilerActivity, profile

def kernels(channels, filters, size, side):
    torch.manual_seed(0)
    x = torch.randn(64, channels, size, size, device="cuda", dtype=torch.half).to(memory_format=torch.channels_last)
    w = torch.randn(filters, channels, side, side, device="cuda", dtype=torch.half).to(memory_format=torch.channels_last)
    x.requires_grad_(), w.requires_grad_()
    def work():
        y = conv2d(x, w, padding=side // 2)
        y.backward(y.detach())
        torch.cuda.synchronize()
    work()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
    return sorted(event.key for event in seen.key_averages() if event.self_device_time_total > 0)

found = []
for benchmark in json.loads(sys.argv[1]):
    torch.backends.cudnn.benchmark = benchmark
    found.append([kernels(*shape) for shape in json.loads(sys.argv[2])])
print(json.dumps(found))
"""


def run(*switch):
    arguments = [sys.executable, "-c", PROGRAM, json.dumps(switch), json.dumps(SHAPES)]
    return json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


(on,) = run(True)
off, later = run(False, True)
differ = lambda a, b: sum(x != y for x, y in zip(a, b))
print(f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, {torch.cuda.get_device_name()}")
print(f"of {len(SHAPES)} convolutions, other kernels than without the switch:")
print(f"  switched on before the first one: {differ(on, off)}")
print(f"  switched on afterwards:           {differ(later, off)}")
assert differ(on, off) > 0 and differ(later, off) == 0
PYTHON_CODE
