"""
Python processes for tests, forked from one that has imported what takes seconds.

Two servers, each a process that has imported and done nothing else: it has no second thread and has computed nothing,
so that it may be forked. The first has the libraries which read nothing of the environment when they are imported; the
second, forked from it, this package as well, with transformers, datasets, accelerate and timm. What is started gets
arguments, environment, folder and output of its own, can be sent signals, and ends as any Python does.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import types
from contextlib import suppress
from importlib import import_module
from pathlib import Path


LIBRARIES = (
    "matplotlib.backends.backend_agg", "matplotlib.figure", "pandas", "pyarrow.parquet", "rich.console", "scipy.io",
    "scipy.optimize", "scipy.stats", "sklearn.datasets", "torch", "torch._dynamo", "torch.distributed.tensor",
    "torchvision",
)  # fmt: skip
PACKAGE = (
    "accelerate", "datasets", "evaluate", "timm", "transformers", "transformers.models.auto.modeling_auto",
    "modeling_resnet50.data.pipeline", "modeling_resnet50.evaluation.evaluate", "modeling_resnet50.hub.model_folder",
    "modeling_resnet50.hub.pretrained", "modeling_resnet50.loop.building",
    "modeling_resnet50.loop.saving", "modeling_resnet50.hub.publishing", "modeling_resnet50.training.checkpoint",
    "modeling_resnet50.training.console", "modeling_resnet50.training.kernels", "modeling_resnet50.training.profiling",
    "modeling_resnet50.training.supervision", "modeling_resnet50.training.tracking",
)  # fmt: skip
# What is read when it is needed, and not by an import.
READ_LATE = ("ACCELERATE_", "GLOO_", "LOCAL_", "MASTER_", "OMP_NUM_THREADS", "PYTEST_", "RANK", "WORLD_SIZE")
_MOST = 1 << 20  # bytes of a request


def start_python(arguments: list[str], environment: dict[str, str], cwd: Path) -> "ForkedPython | subprocess.Popen":
    """
    `python *arguments`, with pipes for what it says. Where processes are not Linux's, a fresh one.

    Args:
        arguments: [`-P`] and a script, `-c` with a program, or `-m` with a module; then theirs.
    """
    if sys.platform == "linux":
        return ForkedPython(arguments, environment, cwd)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *arguments], env=environment, cwd=cwd, **pipes)


class ForkedPython:
    """Shown as `subprocess.Popen` does."""

    def __init__(self, arguments: list[str], environment: dict[str, str], cwd: Path):
        self.args, self.returncode = arguments, None
        self._output, self._errors = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {"arguments": arguments, "environment": environment, "cwd": str(cwd)}
        with theirs:
            files = [self._output.fileno(), self._errors.fileno(), theirs.fileno()]
            socket.send_fds(_server_for(arguments, environment), [json.dumps(request).encode()], files)
        self.pid = int(self._report.recv(_MOST))

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self.returncode = int(self._report.recv(_MOST))
            self._report.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and not select.select([self._report], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.poll()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        self._output.seek(0)
        self._errors.seek(0)
        return self._output.read(), self._errors.read()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


# The tests' side


_servers: dict[str, socket.socket] = {}
_first: subprocess.Popen | None = None
_environment = dict(os.environ)  # before any test changes it


def _server_for(arguments: list[str], environment: dict[str, str]) -> socket.socket:
    """Strangers to this package, and what has an environment of its own, import transformers themselves."""
    if not _servers:
        _start()
    changed = {name for name in environment | _environment if environment.get(name) != _environment.get(name)}
    ours = "-P" not in arguments and all(name.startswith(READ_LATE) for name in changed)
    return _servers["package" if ours else "libraries"]


def _start() -> None:
    global _first
    pairs = {name: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for name in ("libraries", "package")}
    theirs = [pair[1] for pair in pairs.values()]
    _first = subprocess.Popen(
        [sys.executable, "-I", __file__, *(str(each.fileno()) for each in theirs)],
        # OpenBLAS and pyarrow would start threads when they are loaded.
        env={**_environment, "OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"},
        pass_fds=[each.fileno() for each in theirs],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    for name, (ours, their) in pairs.items():
        their.close()
        _servers[name] = ours


def stop() -> None:
    """The servers end when what they started has, which is to be soon."""
    for server in _servers.values():
        server.shutdown(socket.SHUT_RDWR)
        server.close()
    _servers.clear()
    if _first is not None:
        try:
            _first.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(_first.pid, signal.SIGKILL)


# The servers' side


def _serve(control: socket.socket) -> dict:
    """Returns in what is started, with its request."""
    while True:
        message, files, _, _ = socket.recv_fds(control, _MOST, 3)
        if not message:
            with suppress(ChildProcessError):
                while os.wait():
                    pass
            os._exit(0)
        if os.fork() == 0:
            control.close()
            return _keep(json.loads(message), *files)
        for file in files:
            os.close(file)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _keep(request: dict, output: int, errors: int, report: int) -> dict:
    """Start a process, tell its number, wait for it, and tell how it ended."""
    if child := os.fork():
        with socket.socket(fileno=report) as tests:
            tests.send(str(child).encode())
            _, status = os.waitpid(child, 0)
            tests.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    for file in (output, errors, report):
        os.close(file)
    return request


def _become(request: dict) -> None:
    """Run what a fresh interpreter with these arguments would."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    words = list(request["arguments"])
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if safe := "-P" in words[:1]:
        words.pop(0)
    if "torch" in sys.modules and (threads := os.environ.get("OMP_NUM_THREADS")):
        sys.modules["torch"].set_num_threads(int(threads))
    if words[0] in ("-c", "-m"):
        sys.path[:0] = [] if safe else [""]
        kind, what, *sys.argv[1:] = words
        sys.argv[0] = kind
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.path[:0] = [] if safe else [os.path.dirname(os.path.abspath(words[0]))]
        sys.argv[:] = words
        runpy.run_path(words[0], run_name="__main__")


_ending: dict[str, int | None] = {"code": 1}  # None: by an interrupt


def _main() -> None:
    atexit.register(_end)  # the first is the last that is called
    libraries, package = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also under nohup
    _load(LIBRARIES)
    if os.fork() == 0:
        libraries.close()
        sys.path.insert(0, str(Path(__file__).parents[1]))
        _load(PACKAGE)
        sys.path.pop(0)
        request = _serve(package)
    else:
        package.close()
        request = _serve(libraries)
    try:
        _become(request)
        _ending["code"] = 0
    except SystemExit as exit:
        number = 0 if exit.code is None else exit.code
        _ending["code"] = number if isinstance(number, int) else 1
        raise
    except KeyboardInterrupt:
        _ending["code"] = None
        raise


def _end() -> None:
    """When all is done that a Python does at its end: but for clearing its memory, which takes two seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    if _ending["code"] is None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(_ending["code"])


def _load(modules: tuple[str, ...]) -> None:
    for name in modules:
        import_module(name)
    gc.collect()
    gc.freeze()  # the collector would write to, and so copy, what is shared
    assert len(os.listdir("/proc/self/task")) == 1, "a fork has none of the other threads, and their locks for ever"


if __name__ == "__main__":
    _main()
