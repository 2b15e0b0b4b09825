"""Claims that are examined one by one, within a time, several side by side."""

import argparse
import json
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState
from PIL import Image

from .processes import OutOfTimeError, share_the_machine
from .record import Record


Finding = dict[str, Any]

TOY = {"depths": [1, 1], "hidden_sizes": [8, 16], "embedding_size": 8}  # fields of ResNet50Config, for dry runs
_SECONDS_OF_A_DRY_RUN = 540.0  # a busy machine takes long
_ENOUGH_SECONDS = 45.0  # for any claim: what has had them and is not done hangs


@dataclass(frozen=True)
class Task:
    """A claim to examine, after others that make what it needs."""

    name: str
    examine: Callable[[], Finding]
    needs: frozenset[str] = frozenset()


class Claims:
    """
    What one part of the kit finds out.

    Args:
        name: of the part.
        out: folder of its JSON file.
        seconds: for all of it.

    Attributes:
        device: cuda, or the CPU in a dry run.
        scratch: a folder for what is no finding.
        dataset: that runs train on: the embedded digits, or a few images.
        all_hold: whether none has been found wrong.
    """

    def __init__(self, name: str, out: Path, dry_run: bool, seconds: float):
        self.dry_run = dry_run
        self.device = torch.device("cpu" if dry_run else "cuda")
        self.scratch = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.all_hold = True
        self.dataset = str(toy_images(self.scratch / "images")) if dry_run else "digits"
        self._ends_at = time.monotonic() + (_SECONDS_OF_A_DRY_RUN if dry_run else seconds)
        self._record, self._lock = Record(out / f"{name}.json"), threading.Lock()

    def seconds_left(self) -> float:
        return self._ends_at - time.monotonic()

    def claim(self, name: str, examine: Callable[[], Finding]) -> bool:
        """
        Examine and keep what was found, at least `holds`; what goes wrong is a finding too, and lack of time is none.

        Returns:
            Whether the examination came to its end.
        """
        begun_at, finished = time.monotonic(), False
        try:
            if self.seconds_left() <= 0:
                raise OutOfTimeError("not begun")
            finding = examine()
            finished = True
        except Exception as error:  # one claim must not stop the others
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            finding = {"holds": False, "error": f"{type(error).__name__}: {error}", "at": place}
            if isinstance(error, OutOfTimeError) and time.monotonic() - begun_at < _ENOUGH_SECONDS:
                finding = {"holds": None, "why": "no time was left", "how far": str(error)}
        self.put(name, finding)
        return finished

    def claim_side_by_side(self, tasks: list[Task], at_once: int) -> None:
        """Examine so many at once: of those that have what they need, the first in the list comes first."""
        waiting, running = list(tasks), dict[Future, str]()
        finished: set[str] = set()
        missing: set[str] = set()
        with ThreadPoolExecutor(at_once) as pool:
            while waiting or running:
                for task in list(waiting):
                    if lacking := task.needs & missing:
                        waiting.remove(task)
                        missing.add(task.name)
                        self.put(task.name, {"holds": None, "why": f"without {sorted(lacking)}"})
                    elif len(running) < at_once and task.needs <= finished:
                        waiting.remove(task)
                        running[pool.submit(self.claim, task.name, task.examine)] = task.name
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    (finished if future.result() else missing).add(running.pop(future))

    def put(self, name: str, finding: Finding) -> None:
        """Keep a finding."""
        with self._lock:
            self.all_hold &= finding["holds"] is not False
            self._record.put(name, finding)


def toy_images(folder: Path) -> Path:
    """A data set of 10 classes: 120 images to train on, 40 to judge by."""
    random = np.random.default_rng(0)
    for split, images in (("train", 12), ("val", 4)):
        for label in range(10):
            (folder / split / str(label)).mkdir(parents=True)
            for number in range(images):
                pixels = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).resize((32, 32)).save(folder / split / str(label) / f"{number}.png")
    return folder


def training_command(claims: Claims, run: Path, *fields: str) -> list[str]:
    """`train.py` by the digits' recipe, which is a toy's in a dry run."""
    command = ["train.py", "--config", "recipes/digits.yaml", "--output_dir", str(run)]
    if claims.dry_run:
        command += ["--dataset_name", claims.dataset, "--total_train_batch_size", "16"]
        command += ["--config_overrides", json.dumps(TOY)]
    return [*command, *fields]


def examine_part(
    name: str, about: str | None, seconds: float, examine_all: Callable[[Claims], None], arguments: list[str] | None
) -> int:
    """
    A part of the kit as a program.

    Args:
        name: of the part.
        about: what `--help` says.
        seconds: it may take.
        examine_all: examines all its claims.
        arguments: the command line. None: this process's own.

    Returns:
        The exit code: 1 if a claim does not hold.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help=f"folder for {name}.json")
    parser.add_argument("--dry_run", action="store_true", help="on a CPU, with toys")
    parser.add_argument("--seconds", type=float, default=seconds, help="after which what still runs is killed")
    options = parser.parse_args(arguments)
    share_the_machine()
    claims = Claims(name, options.out, options.dry_run, options.seconds)
    try:
        examine_all(claims)
    finally:
        shutil.rmtree(claims.scratch, ignore_errors=True)
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    return 0 if claims.all_hold else 1
