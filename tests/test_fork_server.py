"""What tests start by a fork is what they would start afresh."""

import os
import signal
import subprocess

import pytest
from conftest import PROJECT, run_python
from fork_server import kind_of, start_python


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


@pytest.mark.parametrize("environment", [{}, {"HF_HOME": "/nowhere"}], ids=["package", "libraries"])
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
    assert kind_of(["train.py"], dict(os.environ)) == "package"
    assert kind_of(["train.py"], {**os.environ, "HF_HOME": "/nowhere"}) == "libraries"


def test_scripts_and_modules_are_named_as_they_are(tmp_path):
    (tmp_path / "script.py").write_text("import sys; print(sys.argv, __name__, __file__, sys.path[0])")
    for arguments in ([str(tmp_path / "script.py"), "a"], ["-P", "-m", "json.tool", "--help"]):
        forked, fresh = (run_python(arguments, fresh=fresh).stdout for fresh in (False, True))
        assert forked == fresh


def test_strangers_have_not_met_the_package_and_what_is_read_at_an_import_is_theirs():
    program = "import sys; print({'modeling_resnet50', 'transformers', 'huggingface_hub'} & set(sys.modules)); "
    program += "import huggingface_hub.constants as found; print(found.HF_HOME)"
    assert run_python(["-P", "-c", program]).stdout.startswith("set()\n")
    assert run_python(["-c", program], HF_HOME="/nowhere").stdout == "set()\n/nowhere\n"


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
