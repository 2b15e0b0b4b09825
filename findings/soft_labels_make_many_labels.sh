#!/usr/bin/env bash
# One would guess: a ResNetForImageClassification that is given the soft labels of mixup, CutMix or a teacher computes the cross-entropy with them, as torch's and timm's losses do, or refuses them.
# True:            floats are taken for "each class yes or no": binary cross-entropy over all classes, which is another training, and problem_type=multi_label_classification goes into the config and the file: from then on the pipeline gives sigmoids, which do not add up to 1. After a batch of whole numbers it refuses floats.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.14.1 torchvision==0.29.1 pillow==12.3.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import torch
import transformers
from PIL import Image
from torch.nn import functional
from torchvision.transforms import v2
from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification, pipeline

warnings.filterwarnings("error", module="transformers")
transformers.utils.logging.disable_progress_bar()
torch.manual_seed(0)
config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=10)
model = ResNetForImageClassification(config)
images, classes = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
mixed, soft = v2.MixUp(num_classes=10)(images, classes)
print(f"transformers {transformers.__version__}; MixUp's labels: {tuple(soft.shape)}, each row adds up to {soft.sum(1)[0]:.0f}")
output = model(pixel_values=mixed, labels=soft)
cross_entropy = functional.cross_entropy(output.logits, soft).item()
binary = functional.binary_cross_entropy_with_logits(output.logits, soft).item()
print(f"loss {output.loss.item():.3f}; cross-entropy {cross_entropy:.3f}, binary cross-entropy {binary:.3f}")
assert abs(output.loss.item() - binary) < 1e-5 < abs(output.loss.item() - cross_entropy)

sums = []
for first_labels in (classes, soft):
    model = ResNetForImageClassification(config)
    model.config.problem_type = None
    model(pixel_values=mixed, labels=first_labels).loss.backward()
    model.save_pretrained("model")
    ConvNextImageProcessor(size={"shortest_edge": 32}).save_pretrained("model")
    answers = pipeline("image-classification", "model", device="cpu", top_k=10)(Image.new("RGB", (32, 32)))
    sums.append(sum(answer["score"] for answer in answers))
    stored = ResNetConfig.from_pretrained("model").problem_type
    print(f"saved after {first_labels.dtype} labels: {stored}; the pipeline's scores add up to {sums[-1]:.2f}")
assert abs(sums[0] - 1) < 1e-3 and sums[1] > 2
PYTHON_CODE
