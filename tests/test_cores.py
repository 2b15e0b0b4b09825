"""How many cores are ours: a machine's, and the time of them that a container may have."""

import os
import sys

import pytest

from modeling_resnet50.training import distributed
from resnet50_recipe import cores
from resnet50_recipe.startup import importing


# What /proc/self/cgroup of a container may say: its own groups are the root, or lie at a path of the host's.
SECOND, FIRST = "0::/\n", "3:cpuset:/\n2:cpu,cpuacct:/docker/4f\n0::/\n"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        (SECOND, {}, None),
        (SECOND, {"cpu.max": "max 100000\n"}, None),
        (SECOND, {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "400000 100000\n"}, 4.0),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000\n", "a/cpu.max": "400000 100000\n"}, 2.0),
        (FIRST, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        (FIRST, {"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 0.5),
        (
            FIRST,
            {"cpu/docker/4f/cpu.cfs_quota_us": "300000\n", "cpu/docker/4f/cpu.cfs_period_us": "100000\n"},
            3.0,
        ),
    ],
)
def test_the_quota_is_the_smallest_of_the_control_groups(own, files, quota, tmp_path):
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert cores.cpu_quota(tmp_path / "groups", tmp_path / "own") == quota
    assert cores.cpu_quota(tmp_path / "groups", tmp_path / "no Linux") is None


@pytest.mark.parametrize(("quota", "ours"), [(None, 8), (100.0, 8), (3.9, 4), (2.0, 2), (0.2, 1)])
def test_cores_are_those_of_the_machine_or_what_the_quota_is_worth(quota, ours, monkeypatch):
    monkeypatch.setattr(cores, "_cores_to_run_on", lambda: 8)
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert cores.available_cores() == ours


@pytest.mark.parametrize(
    ("quota", "before", "after"), [(2.0, None, "2"), (2.0, "5", "5"), (8.0, None, None), (None, None, None)]
)
def test_a_program_tells_pytorch_before_it_is_imported(quota, before, after, monkeypatch):
    monkeypatch.setattr(cores, "_cores_to_run_on", lambda: 8)
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("OMP_NUM_THREADS")
    if before:
        monkeypatch.setenv("OMP_NUM_THREADS", before)
    with importing(is_program=True):
        assert os.environ.get("OMP_NUM_THREADS") == after


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({}, 8),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "1"}, 1),
        # A launcher's, which says 1 of its own accord
        ({"OMP_NUM_THREADS": "1", "ACCELERATE_MIXED_PRECISION": "no"}, 8),
        ({"OMP_NUM_THREADS": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}, 4),
        ({"OMP_NUM_THREADS": "3", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}, 3),
    ],
)
def test_training_takes_the_threads_it_is_given_or_its_share_of_the_cores(environment, threads, monkeypatch):
    monkeypatch.setattr(distributed, "available_cores", lambda: 8)
    for name in ("OMP_NUM_THREADS", "ACCELERATE_MIXED_PRECISION", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert distributed.num_threads() == threads
