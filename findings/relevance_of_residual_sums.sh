#!/usr/bin/env bash
# One would guess: layer-wise relevance propagation shares a residual sum out by what each branch adds, so that the relevance of all pixels is the logit; Captum's LRP and zennit's composites do so for any network of layers that they know, or refuse it.
# True:            a sum written as x + f(x) hands all of its relevance to both branches: a branch that adds 1 % counts as much as the other, and the total at least doubles at each block, to 65536 times the logit in a ResNet-50. zennit is right once a Sum module and its rule stand there, as its canonizer for torchvision's ResNet puts in; transformers' and timm's have none.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet captum==0.9.0 zennit==0.5.1 torch==2.14.1 torchvision==0.29.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W ignore - <<'PYTHON_CODE'
from importlib.metadata import version

import torch
import zennit.layer
from captum.attr import LRP
from torch import nn
from zennit.attribution import Gradient
from zennit.composites import LayerMapComposite
from zennit.rules import Epsilon, Norm, Pass
from zennit.types import Activation, Convolution


class Block(nn.Module):
    """What is there, and 1 % of what is one pixel further right."""

    def __init__(self, own_sum):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.ReLU()
        self.conv.weight.data = torch.tensor([[0, 0, 0], [0, 0, 0.01], [0, 0, 0]]).view(1, 1, 3, 3)
        self.sum = zennit.layer.Sum() if own_sum else None

    def forward(self, x):
        if self.sum is not None:
            return self.relu(self.sum(torch.stack([x, self.conv(x)], -1)))
        return self.relu(x + self.conv(x))


def network(blocks, own_sum=False):
    """Its one logit is the pixel in row 8 and column 2, after the blocks."""
    head = nn.Conv2d(1, 1, 16, bias=False)
    head.weight.data = torch.zeros(1, 1, 16, 16)
    head.weight.data[0, 0, 8, 2] = 1
    return nn.Sequential(*(Block(own_sum) for _ in range(blocks)), head).eval()


def by_zennit(model, pixels):
    composite = LayerMapComposite([(Activation, Pass()), (Convolution, Epsilon(epsilon=1e-9)), (zennit.layer.Sum, Norm())])
    with Gradient(model=model, composite=composite) as attributor:
        return attributor(pixels, lambda logit: logit)[1]


def by_captum(model, pixels):
    return LRP(model).attribute(pixels, target=(0, 0, 0))


print(f"Captum {version('captum')}, zennit {version('zennit')}, torch {torch.__version__}")
pixels = torch.ones(1, 1, 16, 16)
methods = {"Captum": (by_captum, False), "zennit": (by_zennit, False), "zennit, with its Sum": (by_zennit, True)}
for blocks in (1, 4, 16):
    for name, (method, own_sum) in methods.items():
        model = network(blocks, own_sum)
        logit = model(pixels).item()
        relevance = method(model, pixels.clone().requires_grad_()).detach()
        total, own = relevance.sum().item(), (relevance[0, 0, 8, 2] / relevance.sum()).item()
        print(f"{blocks} blocks, {name}: the logit is {logit:.3f}, the relevance sums to {total:.3f}; on the pixel that makes {1 / logit:.0%} of it lie {own:.1%}")
        if own_sum:
            assert abs(total / logit - 1) < 0.01 and abs(own - 1 / logit) < 0.01
        else:
            assert total / logit > 0.99 * 2**blocks and own < 0.51
PYTHON_CODE
