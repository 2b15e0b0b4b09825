#!/usr/bin/env bash
# One would guess: what is registered by register_for_checkpointing comes back to each process as it was there, like the states of the random generators, which save_state keeps for each one.
# True:            one file is written, by process 0, and load_state gives it to all: a sampler's place or generator, a count of pictures or a metric that each process keeps for itself is process 0's on every one after a restart, and the others' are gone. With augmentations drawn from such a generator, all processes draw alike from then on.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet accelerate==1.15.0 torch==2.14.1 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import accelerate
import torch
from accelerate.utils import gather_object

warnings.filterwarnings("error", module="accelerate.(accelerator|checkpointing)")


class Augmentation:
    """Draws of its own on each process, and goes on where it was."""

    def __init__(self, seed):
        self.generator, self.pictures = torch.Generator().manual_seed(seed), 0

    def draw(self):
        self.pictures += 1
        return torch.randint(1000, (), generator=self.generator).item()

    def state_dict(self):
        return {"generator": self.generator.get_state(), "pictures": self.pictures}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])
        self.pictures = state["pictures"]


def program():
    accelerator = accelerate.Accelerator(cpu=True)
    rank = accelerator.process_index
    augmentation = Augmentation(rank)
    accelerator.register_for_checkpointing(augmentation)
    torch.manual_seed(rank)
    for _ in range(10 + rank):
        augmentation.draw()
    accelerator.save_state("state")
    counts, draws = gather_object([augmentation.pictures]), gather_object([augmentation.draw()])
    torchs = gather_object([torch.randint(1000, ()).item()])
    accelerator.wait_for_everyone()
    accelerator.load_state("state")
    counts_after, draws_after = gather_object([augmentation.pictures]), gather_object([augmentation.draw()])
    torchs_after = gather_object([torch.randint(1000, ()).item()])
    if accelerator.is_main_process:
        print(f"pictures of each process: {counts}, restored: {counts_after}")
        print(f"next draw of its own generator: {draws}, restored: {draws_after}")
        print(f"next draw of torch's generator: {torchs}, restored: {torchs_after}", flush=True)
    assert torchs_after == torchs and len(set(torchs)) == 3
    assert counts == [10, 11, 12] and len(set(draws)) == 3
    assert counts_after == [10] * 3 and draws_after == [draws[0]] * 3


print(f"accelerate {accelerate.__version__}, three processes", flush=True)
accelerate.debug_launcher(program, num_processes=3)
PYTHON_CODE
