#!/usr/bin/env bash
# One would guess: ai-edge-quantizer's calibration, whose algorithm is called min_max_uniform_quantize, takes the smallest and the greatest value of each tensor, in whatever order the pictures come.
# True:            it starts with the first picture's and moves by a twentieth of the way for each further one: of ten pictures the first counts 63 %. Brighter ones that come later are cut off, and another order is another network.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet ai-edge-quantizer==0.10.0 ai-edge-litert==2.3.0 litert-torch==0.10.0 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
JAX_PLATFORMS=cpu "$PYTHON" -W ignore - 2>errors <<'PYTHON_CODE' || { cat errors; exit 1; }
import contextlib
import io
from importlib.metadata import version

import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
from torch import nn

torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)).eval()
with contextlib.redirect_stdout(io.StringIO()):
    litert_torch.convert(network, (torch.zeros(1, 3, 12, 12),)).export("float32.tflite")
# Ten pictures of contrasts from 0.2 to 2.6.
pictures = (np.random.default_rng(0).uniform(-1, 1, (10, 1, 3, 12, 12)) * np.linspace(0.2, 2.6, 10).reshape(-1, 1, 1, 1, 1)).astype(np.float32)
with torch.no_grad():
    there = network(torch.from_numpy(pictures[:, 0])).numpy()


def quantised(shown):
    """The greatest pixel that the quantised network tells from a greater one, and its logits for all pictures."""
    with contextlib.redirect_stdout(io.StringIO()):
        tool = quantizer.Quantizer("float32.tflite")
        tool.load_quantization_recipe(recipe.static_wi8_ai8())
        ranges = tool.calibrate({"serving_default": [{"args_0": picture} for picture in shown]})
        tool.quantize(ranges).export_model("int8.tflite", overwrite=True)
    network = Interpreter("int8.tflite")
    network.allocate_tensors()
    (taken,), (given,) = network.get_input_details(), network.get_output_details()
    scale, zero = taken["quantization"]
    logits = []
    for picture in pictures:
        network.set_tensor(taken["index"], np.clip(np.round(picture / scale + zero), -128, 127).astype(np.int8))
        network.invoke()
        logits.append((network.get_tensor(given["index"])[0].astype(np.float32) - given["quantization"][1]) * given["quantization"][0])
    return (127 - zero) * scale, np.array(logits)


greatest = pictures.max((1, 2, 3, 4))
print(f"ai-edge-quantizer {version('ai-edge-quantizer')}, LiteRT {version('ai-edge-litert')}: ten pictures, whose greatest pixel is {greatest.max():.2f}")
far = {}
for name, shown in {"pale ones first": pictures, "strong ones first": pictures[::-1]}.items():
    reach, logits = quantised(shown)
    far[name] = np.sqrt(((logits - there) ** 2).mean() / (there**2).mean())
    expected = shown[0].max()
    for picture in shown[1:]:
        expected = 0.95 * expected + 0.05 * picture.max()
    print(f"{name}: pixels up to {reach:.2f}, which cuts {(greatest > reach * 1.05).sum()} of ten off; logits are {far[name]:.1%} from float32's")
    assert abs(reach / expected - 1) < 0.05
assert far["pale ones first"] > 3 * far["strong ones first"]
PYTHON_CODE
