"""
train.py as it runs where there are several processes: in a single one, which Accelerate leaves without DDP, or in
several that share a GPU, which NCCL refuses and gloo does not.

    torchrun --nproc-per-node N --max-restarts 1 -m benchmarks.gpu.train_in_ddp SEEN.jsonl STEP ARGUMENTS

Before a first start has done STEP steps, it kills itself; 0: never. Each start adds a line to SEEN.jsonl: the process
group, and how the model is wrapped. ARGUMENTS are train.py's.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedType, PartialState
from torch.nn.parallel import DistributedDataParallel

import train
from modeling_resnet50.training.numerics import NumericsGuard
from resnet50_recipe.errors import user_errors_exit_cleanly


def wrap_a_single_process_too(seen: Path) -> None:
    """Have `Accelerator.prepare` do so, and note what it gives."""
    prepare = Accelerator.prepare

    def prepare_and_note(self: Accelerator, *args: Any, **kwargs: Any) -> Any:
        if self.device.type == "cuda":
            type(self).multi_device = property(lambda self: True)
        prepared = prepare(self, *args, **kwargs)
        model = prepared[0]
        note = {
            "start": int(os.environ["TORCHELASTIC_RESTART_COUNT"]),
            "backends": str(dist.get_backend_config()),
            "type": str(self.distributed_type),
            "in DDP": isinstance(model, DistributedDataParallel),
            "hooks": [hook.__name__ for hook, _ in getattr(model, "_comm_hooks", [])],
        }
        with seen.open("a") as file:
            file.write(json.dumps(note) + "\n")
        return prepared

    Accelerator.prepare = prepare_and_note


def share_the_gpu() -> None:
    """Processes of which each would have a GPU all have the one that is there."""
    world_size = int(os.environ["WORLD_SIZE"])
    if world_size == 1 or not torch.cuda.is_available():
        return
    torch.accelerator.device_count = lambda: world_size  # as the check of them sees it; Accelerate asks torch.cuda
    PartialState._prepare_backend = lambda self, *_: ("gloo", DistributedType.MULTI_GPU)


def kill_a_first_start(step: int) -> None:
    """When so many steps are nearly done."""
    if step == 0:
        return
    if int(os.environ["TORCHELASTIC_RESTART_COUNT"]) > 0:
        return
    step_was_taken = NumericsGuard.step_was_taken

    def take_or_die(self: NumericsGuard) -> bool:
        if self.progress.step + 1 == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return step_was_taken(self)

    NumericsGuard.step_was_taken = take_or_die


if __name__ == "__main__":
    _, seen_file, last_step, *arguments = sys.argv
    share_the_gpu()
    wrap_a_single_process_too(Path(seen_file))
    kill_a_first_start(int(last_step))
    sys.argv = ["train.py", *arguments]
    with user_errors_exit_cleanly():
        train.main()
