"""What tests start by a fork is what they would start afresh."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import fork_server
import pytest
from fork_server import ForkedPython, kind_of, read_by_imports, start_python
from shared import PROJECT, run_python


BEGINNING = "import atexit, os, sys, threading, time; "
PROGRAMS = {
    "code": "print(sys.argv, os.getcwd(), os.environ['RANK'], sys.path[0], __name__); sys.exit(3)",
    "message": "sys.exit('a reason')",
    "error": "print('before'); 1 / 0",
    "interrupted": "raise KeyboardInterrupt",
    "killed": "print('now', flush=True); os.kill(os.getpid(), 9)",
    "last words": "atexit.register(print, 'bye'); threading.Thread(target=print, args=['first']).start()",
    "unset": "print(sorted(name for name in os.environ if name.startswith('OPENBLAS')), sys.stdin.read())",
}


@pytest.mark.parametrize("environment", [{}, {"MPLBACKEND": "agg"}], ids=["package", "libraries"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_called_and_ends_as_a_fresh_one(name, environment):
    environment = {**environment, "RANK": "7"}
    arguments = ["-c", BEGINNING + PROGRAMS[name], "a", "b"]
    forked, fresh = (run_python(arguments, fresh=fresh, **environment) for fresh in (False, True))
    assert forked.stdout == fresh.stdout
    assert forked.returncode == fresh.returncode
    assert forked.stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]


def test_what_tests_and_libraries_leave_in_the_environment_costs_nobody_an_import():
    """Whatever has been run and collected before."""
    assert read_by_imports(dict(os.environ)) == set()
    assert kind_of(["train.py"], dict(os.environ)) == "package"
    assert kind_of(["train.py"], {**os.environ, "TORCH_HOME": "/nowhere"}) == "libraries"


def test_scripts_and_modules_are_named_as_they_are(tmp_path):
    (tmp_path / "script.py").write_text("import sys; print(sys.argv, __name__, __file__, sys.path[0])")
    for arguments in ([str(tmp_path / "script.py"), "a"], ["-P", "-m", "json.tool", "--help"]):
        forked, fresh = (run_python(arguments, fresh=fresh).stdout for fresh in (False, True))
        assert forked == fresh


def test_strangers_have_not_met_the_package():
    program = "import sys; print({'modeling_resnet50', 'transformers'} & set(sys.modules))"
    assert run_python(["-P", "-c", program]).stdout == "{'transformers'}\n"
    assert run_python(["-c", program], MPLBACKEND="agg").stdout == "set()\n"


def test_what_is_read_at_an_import_is_read_again(tmp_path):
    """Wherever a library keeps what it has read, as by a process that imports the library then."""
    program = """
import sys
import datasets, evaluate, huggingface_hub
from datasets.utils import file_utils
from huggingface_hub import HfFileSystem, constants, hf_api, hf_file_system
from transformers import dynamic_module_utils
from transformers.utils import hub
for module in (constants, datasets.config, evaluate.config):
    print({name: value for name, value in vars(module).items() if name.isupper()})
print(hf_api.api.endpoint, HfFileSystem().endpoint, hf_file_system.hffs._api.endpoint, hub.HF_MODULES_CACHE)
print(dynamic_module_utils.HF_MODULES_CACHE, huggingface_hub.utils.are_progress_bars_disabled())
for name in sorted(name for name in sys.modules if name.partition(".")[0] in ("datasets", "huggingface_hub")):
    texts = {key: value for key, value in vars(sys.modules[name]).items() if isinstance(value, str)}
    print(name, sorted(key for key, value in texts.items() if value in TOLD))
"""
    told = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0",
            "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0"}  # fmt: skip
    program = f"TOLD = {list(told.values())}{program}"
    again, late = (run_python(["-P", "-c", program], **told, **other) for other in ({}, {"MPLBACKEND": "agg"}))
    assert again.returncode == late.returncode == 0, again.stderr + late.stderr
    assert again.stdout == late.stdout


def test_it_computes_with_the_threads_it_is_given():
    program = "import torch; print(torch.get_num_threads()); torch.ones(9, requires_grad=True).sum().backward()"
    for threads in ("1", "2"):
        assert run_python(["-c", program], OMP_NUM_THREADS=threads).stdout == f"{threads}\n"


def test_it_hears_signals_and_is_waited_for():
    process = start_python(["-c", "import signal; signal.pause()"], {**os.environ}, PROJECT)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == process.poll() == -signal.SIGTERM
    assert process.communicate() == ("", "")
    process.kill()  # which is too late, and no error


def test_what_is_killed_at_once_has_ended_and_the_server_has_not():
    for _ in range(3):
        process = start_python(["-c", "import signal; signal.pause()"], {**os.environ}, PROJECT)
        process.kill()
        assert process.wait(60) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")
def test_a_server_that_is_gone_is_an_error(tmp_path, monkeypatch):
    """Before it is asked, by when it has been asked, and when it has started something."""
    started = ["-c", ""], dict(os.environ)
    start = partial(ForkedPython, *started, PROJECT)
    monkeypatch.setattr(fork_server, "_folder", lambda: str(tmp_path))
    with pytest.raises(RuntimeError, match="the fork server is gone"):
        start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server, ThreadPoolExecutor(1) as thread:
        server.bind(str(tmp_path / kind_of(*started)))
        server.settimeout(60)
        with pytest.raises(RuntimeError, match="the fork server is gone"):
            start()
        server.listen()
        starting = thread.submit(start)
        server.accept()[0].close()
        with pytest.raises(RuntimeError, match="the fork server is gone"):
            starting.result()
        starting = thread.submit(start)
        connection, _ = server.accept()
        connection.send(b"123")
        process = starting.result()
        assert (process.pid, process.poll()) == (123, None)
        connection.close()
        with pytest.raises(RuntimeError, match="the fork server is gone"):
            process.wait()
