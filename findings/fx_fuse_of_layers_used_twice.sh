#!/usr/bin/env bash
# One would guess: torch.fx's fuse, which puts each BatchNorm into the convolution before it, leaves the answers as they are, or refuses.
# True:            where a forward uses its layers twice (a picture and its mirror image, two crops, a pair), each BatchNorm is put in once for every use: other weights and other classes, without a word. The same layers used once are right.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W error - <<'PYTHON_CODE'
import torch
from torch import nn
from torch.fx.experimental.optimization import fuse


class Mirrored(nn.Module):
    """The mean of what a network says of a picture and of its mirror image."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels):
        return (self.network(pixels) + self.network(pixels.flip(-1))) / 2


torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
)  # fmt: skip
pictures = torch.rand(64, 3, 12, 12)
print(f"torch {torch.__version__}")
with torch.no_grad():
    for _ in range(50):
        network(torch.rand(16, 3, 12, 12))  # the statistics of BatchNorm
    for name, model in (("once", network), ("twice, by its mirror image", Mirrored(network))):
        there = model.eval()(pictures)
        here = fuse(model)(pictures)
        same = (here.argmax(1) == there.argmax(1)).float().mean().item()
        print(f"each picture {name}: logits reach {there.abs().max():.2f}, fused they are up to {(here - there).abs().max():.2g} away; {same:.0%} of the classes stay")
        assert ((here - there).abs().max() < 1e-5 and same == 1) if model is network else ((here - there).abs().max() > 0.5 and same < 1)
    # The layers are left alone: each one once, fused before they are put to use twice, is right.
    assert torch.allclose(Mirrored(fuse(network))(pictures), Mirrored(network)(pictures), atol=1e-5)
PYTHON_CODE
