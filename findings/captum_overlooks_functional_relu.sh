#!/usr/bin/env bash
# One would guess: Guided Backpropagation and DeepLift give the same for a ReLU written as a module or as torch.relu, or say that they cannot.
# True:            they see modules only: with torch.relu the first is the plain gradient and the second the gradient times the input. A module used twice is refused, a function is not noticed.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet captum==0.9.0 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import captum
import torch
from captum.attr import DeepLift, GuidedBackprop, Saliency

warnings.simplefilter("ignore")  # the same ones come for both


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.classifier = torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(8, 5)
        self.relu = torch.nn.ReLU()

    def forward(self, pixels):
        return self.classifier(self.relu(self.convolution(pixels)).mean((2, 3)))


class Functional(Network):
    def forward(self, pixels):
        return self.classifier(torch.relu(self.convolution(pixels)).mean((2, 3)))


torch.manual_seed(0)
module, functional = Network().eval(), Functional().eval()
functional.load_state_dict(module.state_dict())
pixels = torch.rand(1, 3, 16, 16)
assert torch.equal(module(pixels), functional(pixels))
gradient = Saliency(functional).attribute(pixels, target=1, abs=False)
print(f"captum {captum.__version__}: the same network, its ReLU as a module and as a function")
for method, name, plain in ((GuidedBackprop, "the gradient", gradient), (DeepLift, "gradient × input", gradient * pixels)):
    first, second = (method(network).attribute(pixels, target=1) for network in (module, functional))
    far = (first - second).abs().max() / first.abs().max()
    same = torch.allclose(second, plain, atol=1e-7)
    print(f"{method.__name__}: they differ by {far:.0%} of the greatest; the function's is {name}: {same}")
    assert far > 0.1 and same
PYTHON_CODE
