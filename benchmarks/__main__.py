"""
This project beside its peers, measured in one run.

    python -m benchmarks NAME [options]        python -m benchmarks NAME --help
"""

import sys
from importlib import import_module


BENCHMARKS = {
    "pipeline": "from JPEG files to batches, beside the peers' loaders and the limits",
    "packing": "parquet with a dictionary of the images, and without",
    "step": "a training step, beside timm, torchvision and transformers",
    "loop": "train.py beside a bare loop and the peers' scripts",
    "scale": "1.3 million rows: first batch, memory, shuffling, checkpoints",
    "inference": "one network in its many forms",
    "export": "one network in every format and runtime: size, answers, speed",
    "evaluation": "from files to top-1",
    "checkpoint": "how long training stands still for a checkpoint",
    "gpu": "all that only a GPU can show, in one command",
    "cifar10": "does it learn as a plain loop does",
    "same_weights": "do two checkouts train the same weights",
    "startup": "CPU seconds from the shell to the first own line, or the first step",
    "distillation": "does a teacher pay, in train.py and with timm's task",
    "own_photos": "a folder of photos, by this project, transformers, timm and ultralytics",
    "soak": "memory, descriptors, threads and processes over a long run",
}


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in BENCHMARKS:
        names = "\n".join(f"    {name:<13} {purpose}" for name, purpose in BENCHMARKS.items())
        print(f"{__doc__.strip()}\n\n{names}")
        sys.exit(0 if not arguments or arguments[0] in ("-h", "--help") else 2)
    sys.argv = [f"python -m benchmarks {arguments[0]}", *arguments[1:]]
    import_module(f".{arguments[0]}", __package__).main()


if __name__ == "__main__":
    main()
