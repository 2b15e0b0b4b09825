#!/usr/bin/env bash
# One would guess: torch.backends.fp32_precision = "ieee" forbids TF32 everywhere; transformers' tf32=False, which sets it, does too.
# True:            convolutions stay in TF32 in torch 2.11, also with backends.cudnn.fp32_precision (2.14 obeys); after set_float32_matmul_precision("high") matrix products do, in 2.15 too. Only cudnn.conv's and cuda.matmul's own switch helps.
# PYTHON=python3 takes the packages that are there, for a machine without a network; with an NVIDIA GPU it measures there too.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.11.0
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import torch
from torch.nn import functional

gpu = torch.cuda.is_available()
generator = torch.Generator().manual_seed(0)
a, b = (torch.randn(512, 512, generator=generator) for _ in range(2))
x, w = torch.randn(8, 64, 28, 28, generator=generator), torch.randn(64, 64, 3, 3, generator=generator)
if gpu:
    a, b, x, w = a.cuda(), b.cuda(), x.cuda(), w.cuda()
seen = {}


def error(operation, *tensors):
    right = operation(*(t.double() for t in tensors))
    return ((operation(*tensors).double() - right).norm() / right.norm()).item()


def look(title):
    product, convolution = error(torch.matmul, a, b), error(lambda u, v: functional.conv2d(u, v, padding=1), x, w)
    switches = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    seen[title] = switches, (product, convolution)
    print(f"{title}: products {switches[0]}, convolutions {switches[1]}" + (f"; errors {product:.1e}, {convolution:.1e}" if gpu else ""))


print(f"torch {torch.__version__}" + (f", {torch.cuda.get_device_name()}" if gpu else ", without a GPU"))
look("at first")
torch.backends.fp32_precision = "ieee"
look("ieee")
torch.backends.fp32_precision = "none"
torch.set_float32_matmul_precision("high")
torch.backends.fp32_precision = "ieee"
look("high, then ieee")
torch.backends.cudnn.conv.fp32_precision = torch.backends.cuda.matmul.fp32_precision = "ieee"
look("and by their own switches")
assert [switches for switches, _ in seen.values()] == [("none", "tf32"), ("ieee", "tf32"), ("tf32", "tf32"), ("ieee", "ieee")]
if gpu:
    assert seen["ieee"][1][0] < 1e-6 < 1e-4 < seen["ieee"][1][1] and min(seen["high, then ieee"][1]) > 1e-4
PYTHON_CODE
