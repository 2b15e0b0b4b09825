"""
torchrun, whose processes are forked from one that has imported everything: `forking_torchrun.py RESTARTS SCRIPT …`.

Agent, rendezvous and restarts are torchrun's own; only that a Python is started for each of two processes is left out.
"""

import runpy
import sys

from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def run(*words: str) -> None:
    sys.argv[:] = words
    runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    restarts, *command = sys.argv[1:]
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, max_restarts=int(restarts), start_method="fork",
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id="tests",
    )  # fmt: skip
    elastic_launch(config, run)(*command)
