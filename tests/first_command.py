"""
README's first command, small, in a fresh process: ten seconds. Where all tests are run it is begun before them, while
the fork server imports and the other of two cores has nothing to do.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread
from typing import Any

from once import made_once


BEGUN = "PYTEST_FIRST_COMMAND"  # in the environment: the folder in which it was begun
_PROJECT = Path(__file__).parents[1]
_TINY = (
    '--config_overrides {"depths":[1,1],"hidden_sizes":[8,16],"embedding_size":8} --image_size 16 '
    "--num_train_epochs 1 --warmup_epochs 0 --total_train_batch_size 512"
)
_folder: tempfile.TemporaryDirectory | None = None


def begin() -> None:
    """By who hands out the tests. The folder is there until the end."""
    global _folder
    _folder = tempfile.TemporaryDirectory(prefix="first-command-", ignore_cleanup_errors=True)
    os.environ[BEGUN] = _folder.name
    Thread(target=ended, args=(Path(_folder.name),), daemon=True).start()


def ended(folder: Path) -> dict[str, Any]:
    """Its `returncode`, `stdout` and `stderr`, and in `folder / "run"` what it wrote. The first who asks runs it."""
    outcome = folder / "outcome.json"
    with made_once(outcome) as is_mine:
        if is_mine:
            done = _run(folder)
            outcome.write_text(json.dumps({name: getattr(done, name) for name in ("returncode", "stdout", "stderr")}))
    return json.loads(outcome.read_text())


def _run(folder: Path) -> subprocess.CompletedProcess:
    readme = (_PROJECT / "README.md").read_text(encoding="utf-8")
    (command,) = set(re.findall(r"^(?:.* )?accelerate launch (.*recipes/digits\.yaml)$", readme, re.MULTILINE))
    fields = [*_TINY.split(), "--output_dir", str(folder / "run")]
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *shlex.split(command), *fields],
        cwd=_PROJECT,
        env=os.environ | {"HF_HOME": str(folder / "hf"), "PYTHONPATH": str(_PROJECT)},  # nobody's own configuration
        capture_output=True,
        text=True,
        timeout=300,
    )
