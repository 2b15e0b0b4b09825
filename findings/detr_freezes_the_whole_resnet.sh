#!/usr/bin/env bash
# One would guess: DETR trains its backbone, or the last three stages of it as its code says, from whichever library it comes.
# True:            timm's is trained throughout. Of transformers' own it looks for "stage.1" in names that have "stages.1", and freezes all: at random, where no weights were put in. Saved and opened again, all of it is trained. So do Conditional and Deformable DETR, Table Transformer and Grounding DINO, with any backbone that has "resnet" in its model_type.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet transformers==5.24.0 timm==1.0.31 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import transformers
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig, TimmBackboneConfig

small = dict(d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2)
backbones = {
    "timm": TimmBackboneConfig(backbone="resnet18", out_indices=[4], use_pretrained_backbone=False),
    "transformers": ResNetConfig(depths=[2, 2, 2, 2], layer_type="basic", hidden_sizes=[64, 128, 256, 512], out_features=["stage4"]),
}
trained = {}
for library, backbone in backbones.items():
    model = DetrForObjectDetection(DetrConfig(backbone_config=backbone, use_timm_backbone=library == "timm", **small))
    parameters = list(model.model.backbone.parameters())
    trained[library] = sum(parameter.requires_grad for parameter in parameters)
    print(f"transformers {transformers.__version__}, ResNet-18 of {library}: {trained[library]} of {len(parameters)} tensors learn")
model.save_pretrained("saved")
again = DetrForObjectDetection.from_pretrained("saved")
opened = sum(parameter.requires_grad for parameter in again.model.backbone.parameters())
print(f"the latter saved and opened again: {opened}")
assert trained["timm"] > 0 and trained["transformers"] == 0 and opened == len(parameters)
PYTHON_CODE
