#!/usr/bin/env bash
# One would guess: counting a model's operations before its training, or converting it in between, leaves the model as it was.
# True:            ptflops, calflops and openvino.convert_model leave it in evaluation mode: a loop that called train() before goes on with frozen BatchNorm and without Dropout. fvcore and torchprofile count in the mode it is in, and move BatchNorm's statistics by their made-up picture. torchinfo leaves no trace.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet ptflops==0.7.5 calflops==0.3.2 fvcore==0.1.5.post20221221 torchprofile==0.1.0 torchinfo==1.8.0 transformers==5.24.0 openvino==2026.4.1 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import contextlib
import io
import logging
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import openvino
import torch
from calflops import calculate_flops
from fvcore.nn import FlopCountAnalysis
from ptflops import get_model_complexity_info
from torchinfo import summary
from torchprofile import profile_macs

picture = torch.zeros(2, 3, 32, 32)
counters = {
    "ptflops": lambda model: get_model_complexity_info(model, (3, 32, 32), print_per_layer_stat=False),
    "calflops": lambda model: calculate_flops(model, (2, 3, 32, 32), print_results=False),
    "openvino.convert_model": lambda model: openvino.convert_model(model, example_input=picture),
    "fvcore": lambda model: FlopCountAnalysis(model, picture).total(),
    "torchprofile": lambda model: profile_macs(model, picture),
    "torchinfo": lambda model: summary(model, (2, 3, 32, 32), verbose=0),
}
print(f"torch {torch.__version__}: a model in training mode, after")
found = {}
for name, count in counters.items():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Dropout()).train()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        count(model)
    found[name] = ("training" if all(module.training for module in model.modules()) else "evaluation", int(model[1].num_batches_tracked))
    print(f"{name}: in {found[name][0]} mode, BatchNorm has counted {found[name][1]} batches")
assert found["torchinfo"] == ("training", 0)
assert all(found[name] == ("evaluation", 0) for name in ("ptflops", "calflops", "openvino.convert_model"))
assert found["fvcore"][0] == found["torchprofile"][0] == "training" and found["fvcore"][1] and found["torchprofile"][1]
PYTHON_CODE
