"""The CPU cores that are this process's. A machine may have many more than a container may use."""

import os
from pathlib import Path


def available_cores() -> int:
    """
    Those that this process may run on; in a container with less time than theirs, as many as it is worth, rounded.

    Threads beyond it wait for each other's turn: with the time of one core of two, a step of a small network took 2.8
    times as long in two threads as in one.
    """
    here = _cores_to_run_on()
    quota = cpu_quota()
    return here if quota is None else max(1, min(here, round(quota)))


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """
    The cores' worth of time that the control group of this container allows: Docker's `--cpus`, Kubernetes' limit.

    Args:
        root: where control groups are mounted, version 2 or 1.

    Returns:
        None: all there is, or this is no Linux.
    """
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            words = [word for name in names for word in (root / name).read_text().split()]
        except OSError:
            continue
        quota, period = words
        return None if quota in ("max", "-1") else int(quota) / int(period)
    return None


def share_threads() -> None:
    """By a program, before it imports PyTorch, which counts the cores without the container's limit."""
    if available_cores() < _cores_to_run_on():
        os.environ.setdefault("OMP_NUM_THREADS", str(available_cores()))


def _cores_to_run_on() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
