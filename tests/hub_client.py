"""Tries of an upload in a process that has imported the Hub's client, or forked from it: else that is most of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from hub_server import HubServer

from modeling_resnet50.hub import upload


# The seconds that the client waits between its own tries become hundredths; Xet's are settings.
PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors, get_session, lfs, repocard
import upload
get_session()
upload.BATCH_SIZE = int(sys.argv[1])
sleep = time.sleep
time.sleep = lambda seconds: sleep(seconds / 100)
for line in sys.stdin:
    path, time_limit = json.loads(line)
    if time_limit is None:
        print(json.dumps(upload.attempt(Path(path))), flush=True)
        continue
    if os.fork() == 0:
        signal.setitimer(signal.ITIMER_REAL, time_limit)
        result = upload.attempt(Path(path))
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(result), flush=True)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.wait()[1])
    if code == -signal.SIGALRM:
        print(json.dumps({"failure": f"no answer within {time_limit} s"}), flush=True)
    elif code:
        sys.exit(code)
"""
IMPATIENT = {"HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "2", "HF_XET_CLIENT_RETRY_BASE_DELAY": "20ms"}


class HubClient:
    """A machine with a cache of its own, from which ann sends to a Hub. To be entered."""

    def __init__(self, hub: HubServer, home: Path, xet: bool, batch_size: int = upload.BATCH_SIZE):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(batch_size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(upload.__file__).parent,
            env={**os.environ, **hub.environment(home, "hf_ann", xet), **IMPATIENT},
        )

    def send(self, item: Path, time_limit: float | None = None) -> dict:
        """The result of one try, as `upload.attempt` gives it; with a limit (seconds), in a process of its own."""
        self.process.stdin.write(json.dumps([str(item), time_limit]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self) -> "HubClient":
        return self

    def __exit__(self, *_) -> None:
        self.process.communicate()
