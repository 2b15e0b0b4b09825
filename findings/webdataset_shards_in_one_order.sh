#!/usr/bin/env bash
# One would guess: webdataset's shardshuffle=100 draws another order of the shards in each epoch; a seed makes that repeatable from run to run.
# True:            a loader has one order of shards for all its epochs, with or without a seed, unless detshuffle=True; shuffle(1000) of the samples differs, until it is given a seed: then it begins again from it in each epoch.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet webdataset==1.0.2 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import io
import tarfile

import webdataset

for shard in range(20):
    with tarfile.open(f"{shard:02d}.tar", "w") as file:
        for number in range(5):
            info = tarfile.TarInfo(f"{shard:02d}{number}.cls")
            info.size = 1
            file.addfile(info, io.BytesIO(b"0"))


def dataset(**settings):
    return webdataset.WebDataset("{00..19}.tar", **settings)


loaders = {
    "shardshuffle=20": dataset(shardshuffle=20),
    "shardshuffle=20, seed=1": dataset(shardshuffle=20, seed=1),
    "shardshuffle=20, seed=1, detshuffle=True": dataset(shardshuffle=20, seed=1, detshuffle=True),
    "shuffle(100)": dataset(shardshuffle=False).shuffle(100),
    "shuffle(100, seed=1)": dataset(shardshuffle=False).shuffle(100, seed=1),
}
print(f"webdataset {webdataset.__version__}: orders of 100 samples in three epochs")
orders = {}
for name, loader in loaders.items():
    orders[name] = {tuple(sample["__key__"] for sample in loader) for _ in range(3)}
    print(f"{name}: {len(orders[name])}")
first = next(iter(orders["shardshuffle=20"]))
print("with shardshuffle=20 the shards come as", [int(key[:2]) for key in first[::5]])
assert [len(seen) for seen in orders.values()] == [1, 1, 3, 3, 1] and list(first) != sorted(first)
PYTHON_CODE
