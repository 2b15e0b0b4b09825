"""
Python processes for tests, forked from one that has imported what takes seconds.

Four servers, each a process that has imported and done nothing else: it has no second thread and has computed
nothing, so that it may be forked. The first has the libraries which read nothing of the environment when they are
imported; the second, forked from it, transformers, datasets, accelerate and timm as well; the third this package; the
fourth what tests import besides: the workers of pytest-xdist are forked from it. What is started gets arguments,
environment, folder, input and output of its own, can be sent signals, and ends as any Python does.
"""

import atexit
import ctypes
import gc
import importlib
import inspect
import json
import logging
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import types
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch


LIBRARIES = (
    "matplotlib.backends.backend_agg", "matplotlib.figure", "pandas", "pyarrow.parquet", "rich.console", "scipy.io",
    "scipy.optimize", "scipy.stats", "sklearn.datasets", "tabulate", "torch", "torch._dynamo",
    "torch.distributed.algorithms.ddp_comm_hooks.default_hooks", "torch.distributed.tensor", "torchvision",
)  # fmt: skip
ECOSYSTEM = (
    "accelerate", "datasets", "evaluate", "timm", "transformers", "transformers.models.auto.modeling_auto",
    "transformers.pipelines",
)  # fmt: skip
PACKAGE = (
    "modeling_resnet50.data.pipeline", "modeling_resnet50.evaluation.evaluate",
    "modeling_resnet50.evaluation.metric_modules", "modeling_resnet50.evaluation.statistics",
    "modeling_resnet50.hub.model_folder", "modeling_resnet50.hub.pretrained", "modeling_resnet50.loop.building",
    "modeling_resnet50.loop.saving", "modeling_resnet50.hub.publishing", "modeling_resnet50.training.checkpoint",
    "modeling_resnet50.training.console", "modeling_resnet50.training.kernels", "modeling_resnet50.training.profiling",
    "modeling_resnet50.training.supervision", "modeling_resnet50.training.tracking",
)  # fmt: skip
TESTS = (
    "executorch.backends.xnnpack.partition.graphs.bilinear_2d", "executorch.exir", "executorch.runtime", "gradio",
    "onnx", "onnxscript.function_libs.torch_lib.ops", "pytest", "torch._inductor.compile_fx",
)  # fmt: skip
KINDS = {"libraries": LIBRARIES, "ecosystem": ECOSYSTEM, "package": PACKAGE, "tests": TESTS}
# What is read when it is needed, and not by an import; the last lines are what libraries and tests set themselves.
READ_LATE = (
    "ACCELERATE_", "GLOO_", "GRADIO_", "LOCAL_", "MASTER_", "NO_PROXY", "OMP_NUM_THREADS", "PYTEST_", "PYTHONPATH",
    "RANK", "WORLD_SIZE", "no_proxy",
    "CUBLAS_WORKSPACE_CONFIG", "KINETO_LOG_LEVEL", "KMP_", "OPENVINO_LIB_PATH", "PYTORCH_NVML_BASED_CUDA_CHECK",
    "TF_CPP_", "TOKENIZERS_PARALLELISM", "TORCHINDUCTOR_", "TRACKIO_DIR", "_TORCHINDUCTOR_",
)  # fmt: skip
READ_AGAIN = ("HF_",)  # `read_again` sees to it
_MOST = 1 << 20  # bytes of a request
_ROOM = 1 << 14  # and of a command line


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
        self._output, self._errors = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115
        with open(os.devnull) as nothing:
            files = [nothing.fileno(), self._output.fileno(), self._errors.fileno()]
            kind = kind_of(arguments, environment)
            self._begin(kind, files, arguments=arguments, environment=environment, cwd=str(cwd))

    def _begin(self, kind: str, files: list[int], **request: Any) -> None:
        self.args, self.returncode = request["arguments"], None
        self._report = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with _server_there():
            self._report.connect(os.path.join(_folder(), kind))
            socket.send_fds(self._report, [json.dumps(request).encode()], files)
        self.pid = self._hear()

    def _hear(self) -> int:
        with _server_there():
            if heard := self._report.recv(_MOST):
                return int(heard)
            raise EOFError

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self.returncode = self._hear()
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


class _Worker(ForkedPython):
    """A process of pytest-xdist. It reads and writes what this one does."""

    def __init__(self, arguments: list[str]):
        self._begin("tests", [0, 1, 2], arguments=arguments, environment=dict(os.environ), cwd=os.getcwd())


@contextmanager
def _server_there() -> Iterator[None]:
    try:
        yield
    except (EOFError, FileNotFoundError, ConnectionError) as error:
        raise RuntimeError("the fork server is gone: it was killed, or failed, and may have said why") from error


# The tests' side


_FOLDER = "PYTEST_FORK_SERVER"  # in the environment: where the servers' sockets are
_first: subprocess.Popen | None = None
_environment = dict(os.environ)  # before any test changes it


def worker_command() -> str:
    """What takes the place of `python` where a worker of pytest-xdist is started."""
    _folder()
    return shlex.join([sys.executable, "-I", __file__, "worker"])


def kind_of(arguments: list[str], environment: dict[str, str]) -> str:
    """Strangers have not met this package; who has what only imports read in its environment, none that reads it."""
    if read_by_imports(environment):
        return "libraries"
    strange = "-P" in arguments or environment.get("PYTHONPATH") != _environment.get("PYTHONPATH")
    return "ecosystem" if strange else "package"


def read_by_imports(environment: dict[str, str]) -> set[str]:
    """What differs from the environment at the beginning, and may have been read by what the servers imported."""
    changed = {name for name in environment | _environment if environment.get(name) != _environment.get(name)}
    return {name for name in changed if not name.startswith(READ_LATE + READ_AGAIN)}


def _folder() -> str:
    if _FOLDER not in _environment:
        _start()
    return _environment[_FOLDER]


def _start() -> None:
    """The sockets are there at once: who asks before all is imported waits in line."""
    global _first
    folder = tempfile.mkdtemp(prefix="fork-server-")
    sockets = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in KINDS]
    for each, kind in zip(sockets, KINDS, strict=True):
        each.bind(os.path.join(folder, kind))
        each.listen()
    _first = subprocess.Popen(
        [sys.executable, "-I", __file__, "serve", *(str(each.fileno()) for each in sockets), " " * _ROOM],
        # OpenBLAS and pyarrow would start threads when they are loaded.
        env={**_environment, "OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"},
        pass_fds=[each.fileno() for each in sockets],
        stdin=subprocess.PIPE,  # open as long as the servers are to serve
        start_new_session=True,
    )
    for each in sockets:
        each.close()
    _environment[_FOLDER] = os.environ[_FOLDER] = folder


def stop() -> None:
    """By who started the servers: they end when what they started has, which is to be soon."""
    if _first is None:
        return
    _first.stdin.close()
    try:
        _first.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(_first.pid, signal.SIGKILL)
    shutil.rmtree(_environment[_FOLDER])


# The servers' side


def _serve(control: socket.socket) -> dict:
    """Returns in what is started, with its request."""
    running: dict[int, tuple[int, socket.socket]] = {}  # by its descriptor, what was started, and who waits for it
    while True:
        ready = select.select([control, sys.stdin, *running], [], [])[0]
        for descriptor in running.keys() & set(ready):
            _tell_how_it_ended(*running.pop(descriptor))
            os.close(descriptor)
        if control in ready:
            connection, _ = control.accept()
            if (child := os.fork()) == 0:
                control.close()
                for descriptor, (_, other) in running.items():
                    os.close(descriptor)
                    other.close()
                return _request(connection)
            running[os.pidfd_open(child)] = child, connection
        elif sys.stdin in ready:
            break
    for child, connection in running.values():
        _tell_how_it_ended(child, connection)
    with suppress(ChildProcessError):
        while os.wait():  # the next server
            pass
    os._exit(0)


def _tell_how_it_ended(child: int, connection: socket.socket) -> None:
    _, status = os.waitpid(child, 0)
    with suppress(BrokenPipeError), connection:  # nobody wants to know
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _request(connection: socket.socket) -> dict:
    """In what is started: take what it is to be, and the files it reads and writes, and tell its number."""
    with connection:
        message, files, _, _ = socket.recv_fds(connection, _MOST, 3)
        connection.send(str(os.getpid()).encode())  # whoever knows it may kill this: with nothing left to be read
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    return json.loads(message)


def become(arguments: list[str], environment: dict[str, str], cwd: str) -> None:
    """Run what a fresh interpreter with these arguments would."""
    before = dict(os.environ)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    _show([sys.executable, *arguments])
    if {name for name, _ in before.items() ^ os.environ.items() if name.startswith(READ_AGAIN)}:
        read_again()
    words = list(arguments)
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if safe := "-P" in words[:1]:
        words.pop(0)
    if "-u" in words[:1]:  # as pytest-xdist asks for; it writes without a buffer itself
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


def _show(words: list[str]) -> None:
    """In the list of processes, with this command line."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    text = "".join(word + "\0" for word in words).encode()[: end - begin - 1]
    ctypes.memmove(begin, text.ljust(end - begin, b"\0"), end - begin)


def read_again() -> None:
    """What the Hub's clients made of the environment when they were imported is made anew, copies of it too."""
    if "huggingface_hub" not in sys.modules:
        return
    for module in map(import_module, ("huggingface_hub.constants", "datasets.config", "evaluate.config")):
        before = dict(vars(module))
        importlib.reload(module)
        changed = {name for name in before if name.isupper() and before[name] != getattr(module, name)}
        for other in [vars(each) for each in list(sys.modules.values()) if isinstance(each, types.ModuleType)]:
            other |= {name: getattr(module, name) for name in changed & other.keys() if other[name] is before[name]}
    from huggingface_hub import constants, hf_api, hf_file_system
    from transformers import dynamic_module_utils, utils

    for client in (hf_api.api, hf_file_system.hffs, hf_file_system.hffs._api):
        client.endpoint = constants.ENDPOINT
    hf_file_system.HfFileSystem.clear_instance_cache()
    code = os.environ.get("HF_MODULES_CACHE", os.path.join(constants.HF_HOME, "modules"))
    utils.hub.HF_MODULES_CACHE = dynamic_module_utils.HF_MODULES_CACHE = code


_ending: dict[str, int | None] = {"code": 1}  # None: by an interrupt


def _main() -> None:
    atexit.register(_end)  # the first is the last that is called
    # Also under nohup, and in the background of a shell
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    controls = [socket.socket(fileno=int(number)) for number in sys.argv[2:-1]]
    sys.path.insert(0, str(Path(__file__).parents[1]))
    for control, modules in zip(controls, KINDS.values(), strict=True):
        _load(modules)
        if modules is PACKAGE:
            _work_out()
        if control is controls[-1] or os.fork():
            break
    sys.path.pop(0)
    for other in controls:
        if other is not control:
            other.close()
    request = _serve(control)
    try:
        become(**request)
        _ending["code"] = 0
    except SystemExit as exit:
        _ending["code"] = code_of(exit)
        raise
    except KeyboardInterrupt:
        _ending["code"] = None
        raise


def code_of(exit: SystemExit) -> int:
    """That a Python ends with: a message, which is no number, is a failure."""
    return exit.code if isinstance(exit.code, int) else int(exit.code is not None)


def _end() -> None:
    """When all is done that a Python does at its end: but for clearing its memory, which takes two seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    if _ending["code"] is None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(_ending["code"])


def _load(modules: tuple[str, ...]) -> None:
    logging.disable(logging.WARNING)  # torchao's remarks on PyTorch are for nobody here
    gc.disable()  # what is imported stays: to look through it again and again takes a tenth of the time
    for name in modules:
        if find_spec(name.partition(".")[0]):  # some are of extras
            # gradio parses its own sources, if it finds them, for a second, to write stubs beside them.
            with patch.object(inspect, "getfile", side_effect=OSError) if name == "gradio" else nullcontext():
                import_module(name)
    logging.disable(logging.NOTSET)
    for finalizer in weakref.finalize._registry:
        finalizer.atexit = False  # torch would take its operators out one by one
    gc.freeze()  # the collector would write to, and so copy, what is shared
    gc.enable()
    assert len(os.listdir("/proc/self/task")) == 1, "a fork has none of the other threads, and their locks for ever"


def _work_out() -> None:
    """What every run works out once, of files of the package and of timm: a tenth of its second."""
    from modeling_resnet50.data.class_names import imagenet_names
    from modeling_resnet50.hub.model_card import template

    imagenet_names()
    template()


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        sys.exit(_Worker(sys.argv[2:]).wait())
    _main()
