#!/usr/bin/env bash
# One would guess: BatchNorm in bf16 takes as long as in fp16: half of float32's bytes, so half of its time.
# True:            longer than float32: cuDNN is used for fp16 and float32, PyTorch's own kernels for bf16.
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
import statistics

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

print(f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, {torch.cuda.get_device_name()}")
norm = nn.BatchNorm2d(64).cuda()
milliseconds, by_cudnn = {}, {}
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    x = torch.randn(256, 64, 112, 112, device="cuda").to(dtype, memory_format=torch.channels_last).requires_grad_()

    def work():
        y = norm(x)
        y.backward(x.detach())
        x.grad = None

    work()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    by_cudnn[dtype] = any("cudnn" in event.key for event in seen.key_averages())
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(21)]
    for mark in marks[:-1]:
        mark.record()
        work()
    marks[-1].record()
    torch.cuda.synchronize()
    milliseconds[dtype] = statistics.median(a.elapsed_time(b) for a, b in zip(marks, marks[1:]))
    print(f"{dtype}: {milliseconds[dtype]:.2f} ms forward and backward, channels last, {'cuDNN' if by_cudnn[dtype] else 'PyTorch'}")
assert by_cudnn[torch.float16] and by_cudnn[torch.float32] and not by_cudnn[torch.bfloat16]
assert milliseconds[torch.bfloat16] > milliseconds[torch.float32] > milliseconds[torch.float16]
PYTHON_CODE
