"""train.py and the `resnet50` command, in processes of their own, several at a time."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import torch


PROJECT = Path(__file__).parents[2]
# What takes long to import, once for all of them.
_PRELOADED = [
    "train", "resnet50_cli", "modeling_resnet50.commands.evaluate", "modeling_resnet50.commands.inspect",
    "timm", "PIL.PngImagePlugin",
]  # fmt: skip
_SHOWN_LINES = 12
_starting = threading.Lock()


def share_the_machine() -> None:
    """
    To be called before the first is started: nothing is fetched, and none takes all cores.

    Whether there is a GPU is asked of its driver's library: asked of CUDA, it would be of no use after a fork.
    """
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"


def begin_importing() -> None:
    """Have what they share imported, in another process, while this one goes on."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)
    forkserver.ensure_running()


class ProcessError(RuntimeError):
    """It ended otherwise than it should, or not in time; the message has its last lines."""


class OutOfTimeError(ProcessError):
    """It was killed because it took longer than it may."""


class Started:
    """
    A Python command that runs.

    Args:
        command: as it stands behind `python`: `train.py …`, or `-m resnet50_cli …`.
        log: what it prints goes to this file.
        environment: variables it has besides.
    """

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None):
        self.command, self.log, self._begun_at = command, log, time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=_run, args=(command, log, environment or {}))
        with _starting:
            self._process.start()

    def wait(self, seconds: float) -> float:
        """
        Returns:
            How many seconds it took.

        Raises:
            ProcessError: it failed.
            OutOfTimeError: it was killed because it took longer than it may.
        """
        self._process.join(max(0.0, seconds))
        if self._process.is_alive():
            self.kill()
            raise OutOfTimeError(f"not done within {seconds:.0f} s; the last it said: {self.last_lines()}")
        if self._process.exitcode:
            raise ProcessError(f"exit code {self._process.exitcode}; the last it said: {self.last_lines()}")
        return time.monotonic() - self._begun_at

    def kill_when(self, condition: Callable[[], bool], seconds: float) -> None:
        """
        SIGKILL as soon as a condition holds.

        Raises:
            ProcessError: the process ended before.
            OutOfTimeError: it took longer than it may.
        """
        until = time.monotonic() + seconds
        while not condition():
            if not self._process.is_alive():
                raise ProcessError(f"ended before it could be killed; the last it said: {self.last_lines()}")
            if time.monotonic() > until:
                self.kill()
                raise OutOfTimeError(f"not so far within {seconds:.0f} s; the last it said: {self.last_lines()}")
            time.sleep(0.01)
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def said(self) -> str:
        """Everything so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def last_lines(self) -> str:
        return _last_lines(self.log)


def _run(command: list[str], log: Path, environment: dict[str, str]) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    os.chdir(PROJECT)
    if torch.cuda._is_in_bad_fork():  # an import looked at the GPU, which does not survive a fork
        os.execv(sys.executable, [sys.executable, *command])
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(str(PROJECT / command[0]), run_name="__main__")


def run_torchrun(arguments: list[str], log: Path, seconds: float, processes: int = 1) -> str:
    """
    Processes by `torchrun`.

    Args:
        arguments: torchrun's own, and the script with its own.

    Returns:
        What it said.

    Raises:
        ProcessError, OutOfTimeError: as for `Started.wait`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    paths = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    on_cpu = {} if torch.cuda.is_available() else {"ACCELERATE_USE_CPU": "true"}
    environment = {**os.environ, **on_cpu, "PYTHONPATH": paths}
    with log.open("wb") as file:
        process = subprocess.Popen([*command, *arguments], stdout=file, stderr=file, env=environment, cwd=PROJECT)
        try:
            code = process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            last = _last_lines(log)  # what torchrun says of its own end is of no use
            process.terminate()  # torchrun ends its processes
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            raise OutOfTimeError(f"not done within {seconds:.0f} s; the last it said: {last}") from None
    if code != 0:
        raise ProcessError(f"exit code {code}; the last it said: {_last_lines(log)}")
    return log.read_text(errors="replace")


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return " | ".join(line.strip() for line in lines[-_SHOWN_LINES:])
