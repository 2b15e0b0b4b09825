"""The CPU cores that are this process's. A machine may have many more than a container may use."""

import os
from pathlib import Path


_VERSION_1, _VERSION_2 = ("cpu.cfs_quota_us", "cpu.cfs_period_us"), ("cpu.max",)


def available_cores() -> int:
    """
    Those that this process may run on; in a container with less time than theirs, as many as it is worth, rounded.

    Threads beyond it wait for each other's turn: with the time of one core of two, a step of a small network took 2.8
    times as long in two threads as in one.
    """
    here = _cores_to_run_on()
    quota = cpu_quota()
    return here if quota is None else max(1, min(here, round(quota)))


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """
    The cores' worth of time that control groups allow: Docker's `--cpus`, Kubernetes' limit, systemd's `CPUQuota`.

    Args:
        root: where control groups are mounted, version 2 or 1. In a container, its own may be the root.
        own: names those of this process.

    Returns:
        None: all there is, or this is no Linux.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted, names = (root / "cpu", _VERSION_1) if controllers else (root, _VERSION_2)
        group = mounted / path.strip("/")
        inward = [folder for folder in (group, *group.parents) if folder.is_relative_to(mounted)]
        quotas += [quota for folder in inward if (quota := _quota_of(folder, names)) is not None]
    return min(quotas, default=None)


def _quota_of(group: Path, names: tuple[str, ...]) -> float | None:
    try:
        quota, period = [word for name in names for word in (group / name).read_text().split()]
    except OSError:  # the root has none, and a container does not see those around it
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


def share_threads() -> None:
    """By a program, before it imports PyTorch, which counts the cores without the container's limit."""
    cores = available_cores()
    if cores < _cores_to_run_on():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


def _cores_to_run_on() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
