"""
How long training stands still for a checkpoint: the call that copies the state, beside the whole of a synchronous save
(the same call, and waiting until the checkpoint stands), in one run.

    python -m benchmarks checkpoint [--rounds 7]

ResNet-50 at full size with SGD's momentum and an average of the weights: 307 MB of state. Needs 2 GB of disk.
"""

import tempfile
import time

import torch
from accelerate import Accelerator

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.training.averaging import create_average
from modeling_resnet50.training.checkpoint import CheckpointWriter, Progress, TrainingState
from modeling_resnet50.training.optimization import create_optimizer
from modeling_resnet50.training.run_folder import RunFolder
from resnet50_recipe.training_arguments import TrainingArguments

from .common import argument_parser, hardware, keep, print_table, versions


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rounds = options.rounds
    accelerator = Accelerator()
    with tempfile.TemporaryDirectory() as folder:
        recipe = TrainingArguments(output_dir=folder, ema_decay=0.9999, keep_last=2)
        model = ResNet50ForImageClassification(ResNet50Config())
        model.to(accelerator.device, memory_format=torch.channels_last)
        average = create_average(model, recipe)
        model, optimizer = accelerator.prepare(model, create_optimizer(model, recipe))
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        progress = Progress()
        state = TrainingState(accelerator, model, optimizer, average, progress)
        writer = CheckpointWriter(RunFolder(recipe), recipe, state, print)
        stalls, whole = [], []
        for progress.epoch in range(rounds + 1):
            start = time.perf_counter()
            writer.save()
            stalls.append(time.perf_counter() - start)
            assert writer.wait()
            whole.append(time.perf_counter() - start)
    first, *stalls = (1000 * seconds for seconds in stalls)  # the first allocates the host memory
    times = {"synchronous save": [1000 * seconds for seconds in whole[1:]], "ours: training stands still for": stalls}
    print(f"{hardware(accelerator.device)}; {versions()}")
    print_table("a checkpoint of 307 MB", "ms", times, "synchronous save")
    print(f"\nthe first of a run: {first:.0f} ms")
    parts = {"a checkpoint of 307 MB": ("ms", "synchronous save", times)}
    keep("checkpoint", {"rounds": rounds, "first stall": round(first)}, parts, accelerator.device, folder=options.out)


if __name__ == "__main__":
    main()
