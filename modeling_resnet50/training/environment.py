"""
What a run runs on and with, for its card: machine, versions, commit. No name of a machine, path or command line, which
may say more than is meant to be published.
"""

import platform
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from resnet50_recipe.cores import available_cores

from .. import __version__


version = cache(metadata.version)  # which reads all that a library says of itself
LIBRARIES = (
    "torch", "torchvision", "transformers", "accelerate", "datasets", "timm", "huggingface_hub",
)  # fmt: skip


def describe_environment(
    accelerator: Accelerator, num_train_images: int, num_validation_images: int
) -> dict[str, Any]:
    """
    To be called by all processes, which all get the same.

    Returns:
        Values for JSON: when it was `started`; `device_type`, and how many `devices` there are of each name, one for
        each process; `cpu`, and its `cpu_cores` over all machines; `num_processes`, `num_machines`,
        `mixed_precision`; `python` and `libraries` with their versions; `git`, the commit of the repository that
        train.py lies in, or None; and how many images there are.
    """
    cores = available_cores() if accelerator.is_local_main_process else 0
    # A list for each process: gathering joins them.
    shares = gather_object([{"device": _device_name(accelerator.device), "cores": cores}])
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "device_type": accelerator.device.type,
        "devices": dict(Counter(share["device"] for share in shares)),
        "cpu": cpu_name(),
        "cpu_cores": sum(share["cores"] for share in shares),
        "num_processes": accelerator.num_processes,
        "num_machines": sum(share["cores"] > 0 for share in shares),
        "mixed_precision": str(accelerator.mixed_precision),
        "python": platform.python_version(),
        "libraries": {"modeling-resnet50": __version__, **{name: version(name) for name in LIBRARIES}},
        "git": _git_commit(Path(sys.argv[0]).resolve().parent),
        "num_train_images": num_train_images,
        "num_validation_images": num_validation_images,
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name() if device.type == "cpu" else device.type


def cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git_commit(folder: Path) -> dict[str, Any] | None:
    """`commit`, and whether files were `dirty`: changed since. None: no repository, or no git."""
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except OSError:
        return None
    if commit.returncode or changes.returncode:
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(changes.stdout.strip())}
