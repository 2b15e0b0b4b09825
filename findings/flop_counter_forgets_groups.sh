#!/usr/bin/env bash
# One would guess: PyTorch's FlopCounterMode counts a step of training as three times its forward pass, for convolutions in groups as for others.
# True:            the gradient of the weights is counted as if there were no groups: of 32 of them, a step is 34 forward passes, a ResNeXt-50 is said to cost 60 % more than a ResNet-50, which it equals, and an EfficientNet four times too much. The forward pass is right.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W ignore - <<'PYTHON_CODE'
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode


def counted(network, shape):
    """Operations of a forward pass, and of one with its backward pass. The meta device computes nothing."""
    totals = []
    for whole in (False, True):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            result = network(torch.empty(shape, requires_grad=True))
            if whole:
                result.sum().backward()
        totals.append(counter.get_total_flops())
    return totals


print(f"torch {torch.__version__}")
for groups in (1, 4, 32, 64):
    with torch.device("meta"):
        layer = torch.nn.Conv2d(64, 64, 3, padding=1, groups=groups)
    forward, step = counted(layer, (2, 64, 14, 14))
    assert forward == 2 * 2 * 64 * 14 * 14 * (64 // groups) * 9
    print(f"3 × 3, 64 channels in {groups} groups: a step is {step / forward:g} forward passes")
    assert step == forward * (2 + groups)  # 3 is right
for name, least in (("resnet50", 2.9), ("resnext50_32x4d", 4.5), ("efficientnet_b0", 9)):
    with torch.device("meta"):
        network = getattr(torchvision.models, name)()
    forward, step = counted(network, (2, 3, 224, 224))
    print(f"{name}: forward {forward / 4e9:.2f} GMACs a picture, a step {step / 4e9:.2f}, {step / forward:.1f} times as much")
    assert least < step / forward and (name != "resnet50" or step <= 3 * forward)
PYTHON_CODE
