"""Functions in a process of their own, killed where a test wants it."""

import multiprocessing
import os
import signal
import sys


def run_in_a_fork(function, kill_at: int | None = None) -> int | None:
    """
    Call a function in a process of its own.

    Args:
        kill_at: the process dies by SIGKILL at this file operation (opening, renaming, making, removing).

    Returns:
        The exit code; -9 if it was killed.
    """

    def run():
        operations = 0

        def count(event, arguments):
            nonlocal operations
            if event in ("open", "os.rename", "os.mkdir", "os.remove"):
                operations += 1
                if operations == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        function()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"{function} has not ended after a minute")
    return process.exitcode
