"""For each process of pytest: no network, few threads, workers that are forked. shared.py has what tests share."""

import os


os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
# The workers share the cores, and what they start does: none is to wait for its threads by spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each process would compile what it imports

import gc
import sys

import first_command
import fork_server
import pytest


# For networks that hang, peers that come and go, and processes that are stopped
WAITING = {"test_hub_server", "test_supervision", "test_torrent", "test_upload", "test_xet"}


def pytest_configure(config) -> None:
    """Whoever only hands tests out to workers waits for no imports."""
    hands_out = config.getoption("tx", None) and not config.option.collectonly  # pytest-xdist's word for workers
    if hasattr(config, "workerinput") or not hands_out:
        gc.set_threshold(20_000)  # there are many objects to look through, and memory for a few more
        config.pluginmanager.import_plugin("shared")
    elif config.args_source is config.ArgsSource.TESTPATHS and not config.option.keyword:
        first_command.begin()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs) -> None:
    """Workers are forked from a process that has imported all they need, instead of importing it each."""
    if sys.platform == "linux":
        for spec in specs:
            spec.python = fork_server.worker_command()


def pytest_collection_modifyitems(items) -> None:
    """What waits most begins first, all by one worker, and not last, when there is nothing else to do meanwhile."""
    items.sort(key=lambda item: item.path.stem not in WAITING)


def pytest_unconfigure() -> None:
    fork_server.stop()
    # After this pytest looks five times for what fails as it is freed: what the first look leaves is not.
    gc.collect()
    gc.freeze()
