#!/usr/bin/env bash
# One would guess: a datasets stream that is shuffled, with a seed, and then split by take and skip, in the order its documentation asks for, holds out the same pictures to the end of the training.
# True:            each epoch shuffles anew below the split, and accelerate, so Trainer too, sets the epoch by itself: what skip leaves out is drawn again, and after ten epochs most held-out pictures have been trained on.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet datasets==5.2.0 accelerate==1.15.0 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import accelerate
import datasets
from torch.utils.data import DataLoader

print(f"datasets {datasets.__version__}, accelerate {accelerate.__version__}; 1000 pictures, 200 held out")
pictures = datasets.Dataset.from_dict({"picture": range(1000)})
ever = {}
for order in ("shuffle, then split", "split, then shuffle"):
    stream = pictures.to_iterable_dataset(num_shards=8)
    if order == "shuffle, then split":
        stream = stream.shuffle(seed=0, buffer_size=1000)
        validation, training = stream.take(200), stream.skip(200)
    else:
        validation, training = stream.take(200), stream.skip(200).shuffle(seed=0, buffer_size=1000)
    held_out = {row["picture"] for row in validation}
    loader = accelerate.Accelerator(cpu=True).prepare(DataLoader(training, batch_size=50))
    trained, ever[order] = set(), []
    for _ in range(10):
        trained.update(int(picture) for batch in loader for picture in batch["picture"])
        ever[order].append(len(held_out & trained))
    print(f"{order}: held-out pictures that have been trained on, after each of ten epochs: {ever[order]}")
assert ever["shuffle, then split"][0] == 0 and ever["shuffle, then split"][-1] > 150 and not any(ever["split, then shuffle"])
PYTHON_CODE
