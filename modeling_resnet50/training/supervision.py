"""
What happens to a run from outside: signals that stop it, processes of it that die or hang; and `status.json`, by which
others know how it stands.
"""

import faulthandler
import json
import math
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import psutil
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import gather_object

from resnet50_recipe.errors import UserError, in_one_line, with_its_class
from resnet50_recipe.exit_codes import ExitCode
from resnet50_recipe.run_options import RunOptions
from resnet50_recipe.terminal import printable

from ..files import replaced_file
from .checkpoint import Progress
from .distributed import store_of_this_start
from .run_folder import RunFolder


SECONDS_BETWEEN_BEATS = 5.0
SECONDS_BETWEEN_STATUSES = 60.0
# torchrun passes Ctrl-C on to processes that a terminal has already told: within so long it is the same one.
_SAME_CTRL_C = 2.0
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP") if hasattr(signal, name)]
_NOHUP = (getattr(signal, "SIGHUP", None), signal.SIG_IGN)
_HAS_CHILDREN = hasattr(signal, "SIGCHLD")
_LAUNCHERS = ("accelerate", "torchrun", "accelerate.commands.launch", "torch.distributed.run")
# A wish to stop is the number of its signal, and one more: of several, the launcher's end explains least.
_LAUNCHER_GONE = 1
_RESERVE = 1 << 16  # bytes
_SECONDS_TO_ANSWER = 10.0  # for the machine of the first process
_LAST_BEAT = -1  # of a process that ends itself


class TrainingStopped(SystemExit):
    """A checkpoint stands, and the run can be resumed. Uncaught, it ends the process with exit code 75."""

    def __init__(self, reason: str):
        super().__init__(ExitCode.STOPPED)
        self.reason = reason


class Agreed(NamedTuple):
    """What any process wants, and therefore all do after this step."""

    stop: str | None = None  # why
    checkpoint: bool = False
    trouble: bool = False


class Supervisor:
    """
    To be entered for as long as a run trains, by each of its processes.

    - SIGTERM, SIGINT, SIGUSR1 and SIGHUP, unless `nohup` has it ignored, are taken as a wish to stop, which `agree`
      makes known to all processes. So is the end of the launcher, which not every launcher passes on. A second Ctrl-C
      stops at once.
    - A thread notes that this process is alive and how many batches it has done, and ends the run with a message that
      names whom the others wait for, when nothing has moved for `watchdog_minutes`. The stacks of all threads are in
      `stacks/rank-….txt` then, which the status names.
    - `status.json` says `running`, `stopped`, `failed` or `finished`. While running it is written anew every minute:
      one that is older is of a run that was killed. Room for its last word is kept on the disk.
    - If another process has taken the run folder over, because this one slept or was cut off, it ends.

    Args:
        run: whose `status.json` it is.
        progress: of that run, for the status.

    Attributes:
        at_the_end: are called when the run has ended, well or not, before the status says so.
        outcome: what the status has as the reason of a finished run.
    """

    def __init__(self, accelerator: Accelerator, run: RunFolder, options: RunOptions, progress: Progress):
        self.accelerator, self.run, self.progress = accelerator, run, progress
        run.wish = lambda: _in_words(self._wish)
        self.watchdog_seconds = math.inf if options.watchdog_minutes is None else 60 * options.watchdog_minutes
        self.rank, self.num_processes = accelerator.process_index, accelerator.num_processes
        self._wish = 0
        self._interrupted_at = -math.inf
        self._since: str = gather_object([_now()])[0]
        self._begun = False
        self._stacks: str | None = None
        self.at_the_end: list[Callable[[], None]] = []
        self.outcome: str | None = None
        self._ended = threading.Event()
        self._batches = self._beats = 0
        self._group: Any = None
        self._store: dist.Store | None = None
        if self.num_processes > 1:
            # Beside NCCL's, so that agreeing never waits for a GPU.
            self._group = dist.new_group(backend="gloo")
            self._store = store_of_this_start("watchdog")  # free while the processes wait
            self._hosts = gather_object([f"{platform.node()}, pid {os.getpid()}"])

    def __enter__(self) -> "Supervisor":
        if threading.current_thread() is threading.main_thread():
            taken = [number for number in _SIGNALS if (number, signal.getsignal(number)) != _NOHUP]
            self._handlers = {number: signal.signal(number, self._on_signal) for number in taken}
        else:
            self._handlers = {}
        self._beat()
        self.accelerator.wait_for_everyone()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        # PyTorch raises in the main thread, wherever that is, for every worker process that is killed: not in here.
        on_child = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if self._handlers and _HAS_CHILDREN else None
        try:
            self._end_with(error)
        finally:
            if on_child is not None:
                signal.signal(signal.SIGCHLD, on_child)

    def _end_with(self, error: BaseException | None) -> None:
        for finish in self.at_the_end:
            finish()
        self._ended.set()
        self._thread.join()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if isinstance(error, TrainingStopped):
            if self.rank == 0:
                self._write_status("stopped", error.reason)
        elif isinstance(error, KeyboardInterrupt):
            self._write_status("stopped", "at once, by a second Ctrl-C: what came after the last checkpoint is lost")
        elif error is not None and self._store is not None and _connection_broke(error):
            others = [rank for rank in range(self.num_processes) if rank != self.rank]
            who = self._name(others) if len(others) == 1 else f"one of the {len(others)} others"
            reason = (
                f"the connection to {who} broke: it, its machine or the network has failed ({_what_was_wrong(error)})"
            )
            self._fail(reason)
            print(f"[rank {self.rank}] error: {reason}", file=sys.stderr, flush=True)
            raise SystemExit(1) from error
        elif error is not None:
            self._fail(_what_was_wrong(error))
        elif self.rank == 0:
            self._write_status("finished", self.outcome)

    def run_begins(self) -> None:
        """To be called when the run folder is this run's, by all processes: from now on there is a status."""
        self._begun = True
        if self.rank == 0:
            self._write_status("running")

    def batch_done(self) -> None:
        """To be called whenever this process has got on."""
        self._batches += 1

    def agree(self, trouble: bool = False, checkpoint: bool = False) -> Agreed:
        """
        To be called by all processes, at each optimizer step. They wait for each other, over the network but for no
        GPU: each has its backward pass to work on meanwhile.
        """
        wishes = [self._wish, int(checkpoint), int(trouble)]
        if self._group is not None:
            values = torch.tensor(wishes)
            dist.all_reduce(values, dist.ReduceOp.MAX, group=self._group)
            wishes = values.tolist()
        wish, checkpoint_wanted, in_trouble = wishes
        return Agreed(_in_words(wish), bool(checkpoint_wanted), bool(in_trouble))

    # Signals

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT and _SAME_CTRL_C < now - self._interrupted_at < math.inf:
            raise KeyboardInterrupt
        if number == signal.SIGINT and self._interrupted_at == -math.inf:
            self._interrupted_at = now
        if self._wish > _LAUNCHER_GONE:  # the first one says why
            return
        self._wish = int(number) + 1
        if self.rank == 0:
            more = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
            # Not by print, which may be in the middle of something. Nobody may be there to read it.
            with suppress(OSError):
                os.write(2, f"\n{signal.Signals(number).name}: writing a checkpoint and stopping{more}\n".encode())

    # Watchdog

    def _watch(self) -> None:
        launcher = _launcher()
        still, seen, status_age = 0, self._batches, 0.0
        interval = min(SECONDS_BETWEEN_BEATS, self.watchdog_seconds / 4)
        while not self._ended.wait(interval):
            # In beats, not by a clock: while a suspended machine sleeps, nobody hangs.
            still = still + 1 if self._batches == seen else 0
            seen = self._batches
            status_age += interval
            if self.rank == 0 and status_age >= SECONDS_BETWEEN_STATUSES:
                status_age = 0.0
                if self.run.status().get("status") == "running":  # no other process has said that it failed
                    self._write_status("running")
            try:
                self._beat()
            except dist.DistError:
                self._wish = max(self._wish, _LAUNCHER_GONE)
            if launcher is not None and os.getppid() != launcher:
                self._wish = max(self._wish, _LAUNCHER_GONE)
            if (other := self.run.lock.taken_by) is not None:
                self._begun = False  # the status is the other's
                self._end(f"process {other.pid} on {other.host} trains in {self.run.path} now: this one was silent")
            if still * interval > self.watchdog_seconds:
                self._write_stacks()
                self._end(self._accusation(interval))

    def _beat(self, last: bool = False) -> None:
        """A sign of life; the last one of a process that has found out why none gets on, and ends."""
        self._beats = _LAST_BEAT if last else self._beats + 1
        if self._store is not None:
            self._store.set(str(self.rank), json.dumps([self._beats, self._batches]))

    def _accusation(self, interval: float) -> str:
        """Whom the others wait for."""
        waited = f"no batch done for {self.watchdog_seconds / 60:g} minutes (watchdog_minutes)"
        if self._store is None:
            return f"{waited}: this process hangs after {self._batches} batches"
        try:
            # In a thread of its own: of a machine that is cut off, the store's client waits for ever.
            asking = ThreadPoolExecutor(1)
            before = asking.submit(self._all_beats).result(_SECONDS_TO_ANSWER)
            for _ in range(3):  # seen alive by the others, which may look for who hangs at the same time
                time.sleep(interval)
                self._beat()
            after = asking.submit(self._all_beats).result(_SECONDS_TO_ANSWER)
            self._beat(last=True)
        except dist.DistError:
            return f"{waited}: the launcher or the first process has ended"
        except TimeoutError:
            return f"{waited}: the machine of {self._name([0])} does not answer: it or the network is down"
        others = [rank for rank in range(self.num_processes) if rank != self.rank]
        dead = [rank for rank in others if before[rank][0] == after[rank][0] != _LAST_BEAT]
        if dead:
            return f"{waited}: {self._name(dead)} died or is frozen, without a sign of life"
        fewest = min(batches for _, batches in after)
        behind = [rank for rank, (_, batches) in enumerate(after) if batches == fewest]
        if len(behind) < self.num_processes:
            return f"{waited}: {self._name(behind)} hangs after {fewest} batches, and the others wait"
        return f"{waited}: all {self.num_processes} processes wait for each other after {fewest} batches"

    def _all_beats(self) -> list[tuple[int, int]]:
        assert self._store is not None
        return [tuple(json.loads(self._store.get(str(rank)))) for rank in range(self.num_processes)]

    def _name(self, ranks: list[int]) -> str:
        return " and ".join(f"rank {rank} ({self._hosts[rank]})" for rank in ranks)

    def _write_stacks(self) -> None:
        """Where each thread of this process is. What it waits in, only its stack tells, and it ends without one."""
        path = self.run.stacks / f"rank-{self.rank}.txt"
        with suppress(OSError):  # a full disk must not keep it from ending
            if not self._begun:  # the folder may be another run's
                faulthandler.dump_traceback()
                return
            path.parent.mkdir(exist_ok=True)
            with path.open("w") as file:
                print(f"rank {self.rank}, {platform.node()}, pid {os.getpid()}, {_now()}", file=file)
                for thread in threading.enumerate():
                    print(f"{thread.name}: 0x{thread.ident or 0:016x}", file=file)
                file.flush()
                faulthandler.dump_traceback(file)
            self._stacks = str(path.relative_to(self.run.path))

    def _end(self, reason: str) -> None:
        self._fail(reason)
        print(f"[rank {self.rank}] error: {reason}", file=sys.stderr, flush=True)
        os._exit(ExitCode.FAILED)  # the main thread waits inside a library and hears nothing

    # Status

    def _fail(self, reason: str) -> None:
        """The first process that fails says why: what others say then is a consequence."""
        status = self.run.status()
        if status.get("status") != "failed" or status.get("since") != self._since:
            who = f"rank {self.rank}: " if self.num_processes > 1 else ""
            self._write_status("failed", who + reason)

    def _write_status(self, status: str, reason: str | None = None) -> None:
        if not self._begun:
            return
        content = {
            "status": status,
            "reason": reason,
            "stacks": self._stacks,
            "epoch": self.progress.epoch,
            "step": self.progress.step,
            "skipped_steps": self.progress.skipped_steps,
            "since": self._since,
            "written": _now(),
            "host": platform.node(),
            "pid": os.getpid(),
            "processes": self.num_processes,
        }
        with suppress(OSError):
            if status == "running" and not self.run.reserve.exists():
                self.run.reserve.write_bytes(os.urandom(_RESERVE))  # of zeros, some file systems would keep nothing
            elif status != "running":
                self.run.reserve.unlink()
        # A full disk must not end the run.
        with suppress(OSError), replaced_file(self.run.status_file) as unfinished:
            unfinished.write_text(json.dumps(content, indent=1) + "\n")


def _in_words(wish: int) -> str | None:
    """Why a run is to stop."""
    if not wish:
        return None
    return "the launcher has ended" if wish == _LAUNCHER_GONE else signal.Signals(wish - 1).name


def _launcher() -> int | None:
    """The process id of the program that started this one, if it is one that should outlive it."""
    with suppress(psutil.Error):
        parent = psutil.Process().parent()
        if parent is not None and any(Path(word).name in _LAUNCHERS for word in parent.cmdline()):
            return parent.pid
    return None


def _connection_broke(error: BaseException | None) -> bool:
    """Between processes. Gloo has no exception of its own."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _what_was_wrong(error: BaseException) -> str:
    return printable(in_one_line(error) if isinstance(error, UserError) else with_its_class(error))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
