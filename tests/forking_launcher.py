"""
A launcher, whose Pythons are forked from one that has imported everything: `forking_launcher.py -m MODULE …`.

The launcher's code, its agent, rendezvous and restarts are real, and so is who is whose parent; only that a Python
starts and imports is left out.
"""

import os
import signal
import subprocess
import sys
import traceback

from fork_server import become, code_of
from torch.distributed.elastic.rendezvous import dynamic_rendezvous


execute_child = subprocess.Popen._execute_child


def launch(words: list[str]) -> None:
    """`python -m MODULE …` in this process, in a process group of its own as a terminal gives it."""
    os.setsid()
    subprocess.Popen._execute_child = started
    # For its log alone, torchrun looks through all that is imported, again and again.
    dynamic_rendezvous.get_method_name = lambda depth=2: sys._getframe(depth - 1).f_code.co_name
    become(words, dict(os.environ), os.getcwd())


def started(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *others) -> None:
    """Takes the place of `subprocess.Popen._execute_child`."""
    if args[0] != sys.executable:
        return execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *others)
    self.pid = os.fork()
    if self.pid == 0:
        run_and_exit(list(args[1:]), dict(os.environ if env is None else env), new_session=others[-2])
    self._child_created = True
    return None


def run_and_exit(arguments: list[str], environment: dict[str, str], new_session: bool) -> None:
    code = 1
    try:
        if new_session:
            os.setsid()
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):  # the launcher's; starting a Python would have ended it
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        become(arguments, environment, os.getcwd())
        code = 0
    except SystemExit as exit:
        code = code_of(exit)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    launch(sys.argv[1:])
