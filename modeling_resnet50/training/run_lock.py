"""
One run at a time in a folder: `lock.json` names the process that trains there, and is touched by it every few seconds.

On the same machine the process itself is asked for. Of another machine, which may only share the file system, the
touches are watched for a while: so no two clocks need to agree.
"""

import json
import os
import platform
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from resnet50_recipe.errors import UserError


SECONDS_BETWEEN_BEATS = 5.0
SECONDS_OF_SILENCE = 4 * SECONDS_BETWEEN_BEATS  # after which a process on another machine is taken for dead


@dataclass(frozen=True)
class Holder:
    """
    A process, as others can recognise it.

    Attributes:
        machine: what tells apart two machines, or containers, of the same name: boot and process table.
        started: of the process, by its machine's clock. A number that is given again has another start.
        token: of this lock alone.
    """

    host: str
    machine: str
    pid: int
    started: float
    token: str

    @property
    def is_of_this_machine(self) -> bool:
        """Whether this process could see it."""
        return (self.host, self.machine) == (platform.node(), _machine())

    @property
    def runs(self) -> bool:
        """Whether it runs, if it is of this machine."""
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - self.started) < 1
        return False


class RunLock:
    """
    `lock.json` of a run folder. From `acquire` to `release`, a thread touches it.

    Args:
        folder: of the run; made if it is not there.

    Attributes:
        taken_by: the process that has the folder now, if this one was taken for dead: asleep, or cut off.
    """

    def __init__(self, folder: Path):
        self.path = folder / "lock.json"
        self.taken_by: Holder | None = None
        self._holder: Holder | None = None
        self._released = threading.Event()

    def acquire(self) -> str | None:
        """
        Take the folder for this process.

        Returns:
            What there is to say: that the process which had it is dead.

        Raises:
            UserError: another process trains there.
        """
        process = psutil.Process()
        holder = Holder(platform.node(), _machine(), process.pid, process.create_time(), secrets.token_hex(8))
        remark = None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while not self._create(holder):
            remark = self._take_from_the_dead() or remark
        self._holder = holder
        self._thread = threading.Thread(target=self._touch, name="run lock", daemon=True)
        self._thread.start()
        return remark

    def release(self) -> None:
        """Let others in. A folder that is otherwise empty goes."""
        if self._holder is None:
            return
        self._released.set()
        self._thread.join()
        if read_holder(self.path) == self._holder:
            with suppress(OSError):
                self.path.unlink()
                self.path.parent.rmdir()
        self._holder = None

    def _touch(self) -> None:
        while self.taken_by is None and not self._released.wait(SECONDS_BETWEEN_BEATS):
            with suppress(OSError):  # a file system that is away for a while
                there = read_holder(self.path)
                if there == self._holder:
                    os.utime(self.path)
                else:
                    self.taken_by = there

    def _create(self, holder: Holder) -> bool:
        try:
            with self.path.open("x") as file:
                file.write(json.dumps(asdict(holder), indent=1) + "\n")
        except FileExistsError:
            return False
        return True

    def _take_from_the_dead(self) -> str | None:
        """Put a lock away whose holder is dead. Two may try: of one lock, only one succeeds in renaming it."""
        there = read_holder(self.path)
        who = "another process" if there is None else f"process {there.pid} on {there.host}"
        if is_alive(self.path):
            raise UserError(
                f"output_dir {self.path.parent}: {who} trains there already. Wait for it, stop it, or choose another "
                "--output_dir"
            )
        taken = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            os.rename(self.path, taken)
        except FileNotFoundError:  # it was given back, or somebody was faster
            return None
        if read_holder(taken) != there:  # somebody was faster, and has it
            os.rename(taken, self.path)
            return None
        taken.unlink()
        return f"{who} trained here, and is not there any more"


def read_holder(path: Path) -> Holder | None:
    """Who holds a lock; None if there is no lock, or none that can be read."""
    try:
        content: Any = json.loads(path.read_text())
        return Holder(**content)
    except (OSError, ValueError, TypeError):
        return None


def is_alive(path: Path) -> bool:
    """Whether a lock's holder lives. Of another machine's, this waits for a sign of life."""
    holder = read_holder(path)
    if holder is not None and holder.is_of_this_machine:
        return holder.runs
    seen, end = _last_beat(path), time.monotonic() + SECONDS_OF_SILENCE
    while path.exists() and time.monotonic() < end:
        time.sleep(SECONDS_BETWEEN_BEATS / 5)
        if _last_beat(path) not in (seen, None):
            return True
    return False


def _last_beat(path: Path) -> int | None:
    # Opened: then a network file system asks its server.
    with suppress(OSError), path.open() as file:
        return os.fstat(file.fileno()).st_mtime_ns
    return None


def _machine() -> str:
    parts = []
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)
