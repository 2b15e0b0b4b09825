#!/usr/bin/env bash
# One would guess: an adapter that is not trained yet changes nothing, and merge_and_unload answers as before: with OFT of PEFT on a convolution too.
# True:            of 3 × 3, the adapter cuts the picture into overlapping patches and puts it together by summing them: a pixel counts up to nine times, at the borders less. Merging then gives another network; 1 × 1, and LoRA, LoHa, LoKr, BOFT and HRA are right.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 peft==0.21.2 transformers==5.24.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W ignore - <<'PYTHON_CODE'
import copy

import peft
import torch

torch.manual_seed(0)
pixels = torch.randn(2, 8, 9, 9)
kinds = {
    "OFT": lambda: peft.OFTConfig(target_modules=["0"], r=0, oft_block_size=4),
    "BOFT": lambda: peft.BOFTConfig(target_modules=["0"], boft_block_size=4),
    "HRA": lambda: peft.HRAConfig(target_modules=["0"]),
    "LoRA": lambda: peft.LoraConfig(target_modules=["0"]),
    "LoHa": lambda: peft.LoHaConfig(target_modules=["0"]),
    "LoKr": lambda: peft.LoKrConfig(target_modules=["0"]),
}
print(f"torch {torch.__version__}, PEFT {peft.__version__}: a convolution with an adapter that is not trained")
for size in (1, 3):
    plain = torch.nn.Sequential(torch.nn.Conv2d(8, 6, size)).eval()
    there = plain(pixels)
    for kind, config in kinds.items():
        adapted = peft.get_peft_model(copy.deepcopy(plain), config()).eval()
        moved = (adapted(pixels) - there).abs().max().item()
        merged = (copy.deepcopy(adapted).merge_and_unload()(pixels) - there).abs().max().item()
        print(f"{kind}, {size} × {size}: {moved:.2f} from the network, of {there.abs().max():.2f}; {merged:.2f} once it is merged")
        assert merged < 1e-5 and (moved > 1 if (kind, size) == ("OFT", 3) else moved < 1e-5)
    if size == 3:
        with torch.no_grad():
            adapted = peft.get_peft_model(copy.deepcopy(plain), kinds["OFT"]())
            seen = adapted.base_model.model[0].oft_R["default"](torch.ones(1, 8, 9, 9))[0, 0]
print("a white picture, as OFT hands it to the 3 × 3 convolution, its first row and its fifth:", seen[0].tolist(), seen[4].tolist())
assert seen[0, 0] == 1 and seen[4, 4] == 9
PYTHON_CODE
