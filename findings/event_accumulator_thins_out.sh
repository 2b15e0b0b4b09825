#!/usr/bin/env bash
# One would guess: TensorBoard's EventAccumulator reads back every value that was written: the best one and its step can be looked up.
# True:            of each curve it keeps 10,000 values at random, and the last: of a run of 30,000 steps two thirds are gone, the first and the best perhaps among them; size_guidance={"scalars": 0} keeps all.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet tensorboard==2.21.0 torch==2.15.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import warnings

import tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

warnings.simplefilter("error")
STEPS, BEST = 30_000, 12_345
with SummaryWriter("run") as writer:
    for step in range(STEPS):
        writer.add_scalar("accuracy", 0.9 if step == BEST else 0.5, step)
print(f"tensorboard {tensorboard.__version__}: {STEPS} values are written, the best, 0.9, in step {BEST}")
for guidance in (None, {"scalars": 0}):
    events = EventAccumulator("run", size_guidance=guidance)
    events.Reload()
    values = events.Scalars("accuracy")
    best = max(values, key=lambda value: value.value)
    print(f"size_guidance={guidance}: {len(values)} values from step {values[0].step} on, the best {best.value:.1f} in step {best.step}")
    if guidance is None:
        assert len(values) == 10_000 and values[-1].step == STEPS - 1 and best.value == 0.5
    else:
        assert len(values) == STEPS and best.step == BEST
PYTHON_CODE
