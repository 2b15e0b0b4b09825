#!/usr/bin/env bash
# One would guess: ultralytics' cls_pw=1.0, "class weights power for handling class imbalance", weighs the classes of whatever it trains, or is refused where it cannot.
# True:            it does so for boxes and masks only: a classifier takes the setting, shows it among its own, and ends with the very weights that it has without.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet ultralytics==8.4.190 torch==2.14.1 torchvision==0.29.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
YOLO_CONFIG_DIR=$folder "$PYTHON" - <<'PYTHON_CODE'
from pathlib import Path

import numpy as np
import torch
import ultralytics
from PIL import Image

noise = np.random.default_rng(0)
for split in ("train", "val"):
    for name, count in (("common", 40), ("rare", 8)):
        for number in range(count):
            path = Path("photos", split, name, f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)

weights = []
for power in (0.0, 1.0):
    model = ultralytics.YOLO("yolov8n-cls.yaml")
    model.train(data=str(Path("photos").resolve()), cls_pw=power, epochs=2, imgsz=32, batch=16, workers=0, seed=0,
                device="cpu", plots=False, val=False, verbose=False, project=str(Path("runs").resolve()), name=f"{power}")
    print("cls_pw of the trainer:", model.trainer.args.cls_pw, "· class_weights of its network:",
          getattr(model.trainer.model, "class_weights", None))
    weights.append(model.trainer.model.state_dict())
same = all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
counts = {name: len(list(Path("photos/train", name).iterdir())) for name in ("common", "rare")}
print(f"ultralytics {ultralytics.__version__}, torch {torch.__version__}, images {counts}")
print("the same weights with cls_pw=0 and cls_pw=1:", same)
assert model.trainer.args.cls_pw == 1.0
assert same
PYTHON_CODE
