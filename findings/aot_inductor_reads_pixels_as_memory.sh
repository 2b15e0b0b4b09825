#!/usr/bin/env bash
# One would guess: a package of AOTInductor (.pt2) takes pixels in channels_last, as the network it was made of does, and refuses another type of numbers, as its ExportedProgram does.
# True:            it asks about neither: the memory is read as that of the example. Pixels in channels_last are scrambled, those in float64 are bits of float32, and the logits come without a word. AOTI_RUNTIME_CHECK_INPUTS=1 makes it check the type, and the order of memory.
# PYTHON=python3 takes the packages that are there, for a machine without a network. Needs a C++ compiler.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
export TORCHINDUCTOR_CACHE_DIR=$folder/cache
cat > program.py <<'PYTHON_CODE'
import sys

import torch
from torch import nn


def refused(call):
    try:
        return call()
    except (RuntimeError, AssertionError) as error:
        return str(error)


torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
pixels = torch.rand(2, 3, 8, 8)
with torch.no_grad():
    there = network(pixels)
    program = torch.export.export(network, (pixels,))
    if sys.argv[1] == "make":
        torch._inductor.config.aot_inductor.compile_wrapper_opt_level = "O0"  # compiles sooner; the same without it
        torch._inductor.aoti_compile_and_package(program, package_path="network.pt2")
        sys.exit()
    package = torch._inductor.aoti_load_package("network.pt2")
    print(f"torch {torch.__version__}, {sys.argv[1]}: logits reach {there.abs().max():.2f}")
    for name, given in {"as the example": pixels, "in channels_last": pixels.to(memory_format=torch.channels_last), "in float64": pixels.double()}.items():
        answers = {"package": refused(lambda: package(given)), "ExportedProgram": refused(lambda: program.module()(given))}
        far = {by: "refused" if isinstance(y, str) else f"{(y - there).abs().max():.3g} away" for by, y in answers.items()}
        print(f"pixels {name}: {far}")
        if name == "as the example":
            assert torch.allclose(answers["package"], there, atol=1e-5)
        elif sys.argv[1] == "checked":
            assert far["package"] == "refused"
        else:
            assert (answers["package"] - there).abs().max() > 1e-3 or answers["package"].isnan().any()
            assert far["ExportedProgram"] == "refused" if name == "in float64" else torch.allclose(answers["ExportedProgram"], there, atol=1e-5)
PYTHON_CODE
"$PYTHON" -W ignore program.py make 2>errors || { cat errors; exit 1; }
"$PYTHON" -W ignore program.py unchecked 2>errors || { cat errors; exit 1; }
AOTI_RUNTIME_CHECK_INPUTS=1 "$PYTHON" -W ignore program.py checked 2>errors || { cat errors; exit 1; }
