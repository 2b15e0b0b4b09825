"""A run that is told to stop, or one of whose processes dies or hangs: what it does, and what it says."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from accelerate import Accelerator
from fork_server import start_python
from shared import PROJECT, UNDRAWN, tiny_arguments
from test_resuming import outcome
from test_training import run_two_ranks

from modeling_resnet50.files import replaced_file
from modeling_resnet50.training.checkpoint import Progress
from modeling_resnet50.training.run_folder import RunFolder
from modeling_resnet50.training.supervision import (
    _LAUNCHER_GONE,
    Agreed,
    Supervisor,
    TrainingStopped,
)
from resnet50_cli import main
from resnet50_recipe.errors import UserError
from resnet50_recipe.training_arguments import TrainingArguments


@pytest.fixture(autouse=True)
def _signals_are_heard():
    """Also where the tests were started by nohup, which a run obeys, or in the background of a shell's script."""
    handlers = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


SETTINGS = {"total_train_batch_size": 4, "num_train_epochs": 3, "checkpoint_every_epochs": 1, "ema_decay": 0.5}
LONG = {**SETTINGS, "num_train_epochs": 2000, "checkpoint_every_epochs": 2000}


def status_of(run: Path) -> dict:
    return json.loads((run / "status.json").read_text())


ACCELERATE = ("-m", "accelerate.commands.launch")
LAUNCHERS = {
    "accelerate, two ranks": (*ACCELERATE, "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"),
    "accelerate": (*ACCELERATE, "--num_processes", "1"),
    "torchrun, two ranks": ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
}


def start(command: list[str], launcher: str, afresh: bool = False):
    """
    train.py under a launcher, in a process group of its own.

    Args:
        afresh: by Pythons that have imported nothing. Otherwise the launcher is forked, and forks.
    """
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [*LAUNCHERS[launcher], *command]
    if not afresh:
        return start_python(["tests/forking_launcher.py", *command], environment, PROJECT)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *command], cwd=PROJECT, env=environment, start_new_session=True, **pipes)


def wait_until(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_training(run: Path) -> bool:
    return (run / "metrics.jsonl").exists()


def left_over(run: Path) -> list[psutil.Process]:
    """Processes with this run in their command line."""
    return [p for p in psutil.process_iter(["cmdline"]) if str(run) in (p.info["cmdline"] or [])]


@pytest.fixture
def signalled(monkeypatch):
    """Let this process signal itself when it has done so many batches."""

    def arrange(at: dict[int, signal.Signals]) -> None:
        original = Supervisor.batch_done

        def batch_done(self):
            original(self)
            if self._batches in at:
                os.kill(os.getpid(), at[self._batches])

        monkeypatch.setattr(Supervisor, "batch_done", batch_done)

    yield arrange
    monkeypatch.undo()


FIRST, LAST_OF_AN_EPOCH, OF_VALIDATION = 1, 6, 9  # batches
CASES = [
    (signal.SIGTERM, FIRST), (signal.SIGINT, LAST_OF_AN_EPOCH), (signal.SIGUSR1, OF_VALIDATION),
    (signal.SIGHUP, LAST_OF_AN_EPOCH),
]  # fmt: skip


def marks_of(*case) -> tuple:
    return () if case in CASES else (pytest.mark.long,)


@pytest.mark.parametrize(
    ("number", "batch"),
    [
        pytest.param(number, batch, id=f"{batch}-{number.name}", marks=marks_of(number, batch))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
        for batch in (FIRST, LAST_OF_AN_EPOCH, OF_VALIDATION)
    ],
)
def test_stopped_by_a_signal_and_resumed_it_is_the_same_run(
    number, batch, trained, image_folder, tmp_path, train, signalled, monkeypatch, capfd
):
    undisturbed = trained(**SETTINGS)
    run = tmp_path / "run"
    signalled({batch: number})
    with pytest.raises(TrainingStopped) as stopped:
        train(tiny_arguments(image_folder, run, **SETTINGS))
    assert stopped.value.code == 75
    assert f"{number.name}: writing a checkpoint and stopping" in capfd.readouterr().err
    status = status_of(run)
    assert (status["status"], status["reason"]) == ("stopped", number.name)
    assert status["step"] == min(batch, 7)
    assert signal.getsignal(number) is not None
    monkeypatch.undo()
    train(tiny_arguments(image_folder, run, **SETTINGS, resume_from_checkpoint="auto"))
    assert outcome(run) == outcome(undisturbed)
    assert status_of(run)["status"] == "finished"


def test_a_second_ctrl_c_stops_at_once(image_folder, tmp_path, train, signalled, monkeypatch):
    monkeypatch.setattr("modeling_resnet50.training.supervision._SAME_CTRL_C", 0.0)
    signalled({1: signal.SIGINT, 2: signal.SIGINT})
    monkeypatch.setattr(Supervisor, "agree", lambda self, **wishes: Agreed())  # the checkpoint takes its time
    with pytest.raises(KeyboardInterrupt):
        train(tiny_arguments(image_folder, tmp_path / "run", **SETTINGS))
    status = status_of(tmp_path / "run")
    assert (status["status"], status["step"]) == ("stopped", 1)
    assert status["reason"].startswith("at once")


def test_a_launchers_copy_of_the_same_ctrl_c_is_not_a_second_one(image_folder, tmp_path, train, signalled):
    signalled({1: signal.SIGINT, 2: signal.SIGINT})
    with pytest.raises(TrainingStopped):
        train(tiny_arguments(image_folder, tmp_path / "run", **SETTINGS))


def test_under_nohup_a_closed_terminal_stops_nothing(image_folder, tmp_path, train, signalled):
    signalled({1: signal.SIGHUP})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        train(tiny_arguments(image_folder, tmp_path / "run", **{**SETTINGS, "num_train_epochs": 1}))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert status_of(tmp_path / "run")["status"] == "finished"


def test_the_first_signal_says_why_and_the_end_of_a_launcher_least(
    image_folder, tmp_path, train, signalled, monkeypatch
):
    signalled({1: signal.SIGINT})
    original = Supervisor.batch_done

    def batch_done(self):
        original(self)
        if self._batches == 1:
            self._wish = max(self._wish, _LAUNCHER_GONE)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Supervisor, "batch_done", batch_done)
    with pytest.raises(TrainingStopped):
        train(tiny_arguments(image_folder, tmp_path / "run", **SETTINGS))
    assert status_of(tmp_path / "run")["reason"] == "SIGINT"


@pytest.mark.parametrize("afresh", [False, pytest.param(True, marks=pytest.mark.long)])
def test_ctrl_c_under_accelerate_launch_is_said_to_be_that(afresh, image_folder, tmp_path):
    """A terminal tells all processes of its group, and the launcher ends at once."""
    run = tmp_path / "run"
    process = start([UNDRAWN, *tiny_arguments(image_folder, run, **LONG)], "accelerate", afresh)
    wait_until(lambda: is_training(run))
    os.killpg(process.pid, signal.SIGINT)
    wait_until(lambda: not left_over(run), 60)
    output = "".join(filter(None, process.communicate(timeout=120)))
    assert "\nstopped (SIGINT)" in output
    assert (status_of(run)["status"], status_of(run)["reason"]) == ("stopped", "SIGINT")


def test_status_of_the_living_and_the_dead(image_folder, tmp_path, capsys, train):
    run = tmp_path / "run"
    process = start_python([UNDRAWN, *tiny_arguments(image_folder, run, **LONG)], {**os.environ}, PROJECT)
    wait_until(lambda: is_training(run))
    main(["status", str(run)])
    assert f"{run}: running, epoch " in capsys.readouterr().out
    process.kill()
    process.communicate()
    assert status_of(run)["status"] == "running"
    main(["status", str(run)])
    out = capsys.readouterr().out
    assert f"{run}: killed, epoch " in out
    assert f"process {process.pid} on {os.uname().nodename} is not there any more: go on by the same command" in out
    main(["status", str(run), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["folder"], told["status"], told["pid"]) == (str(run), "killed", process.pid)
    settings = {**LONG, "num_train_epochs": 1, "checkpoint_every_epochs": 1, "allow_recipe_change": True}
    train(tiny_arguments(image_folder, run, **settings, resume_from_checkpoint="auto"))
    out = capsys.readouterr().out
    assert f"process {process.pid} on {os.uname().nodename} trained here, and is not there any more" in out
    main(["status", str(run)])
    assert f"{run}: finished, epoch 1 of 1 done, 6 steps" in capsys.readouterr().out


def test_on_a_full_disk_the_last_word_is_still_written(image_folder, tmp_path, train, monkeypatch):
    run = tmp_path / "run"
    reserve = RunFolder(TrainingArguments(output_dir=str(run))).reserve
    sizes = []

    @contextmanager
    def full(target):
        if reserve.exists():
            sizes.append(reserve.stat().st_size)
            raise OSError(28, "No space left on device")
        with replaced_file(target) as unfinished:
            yield unfinished

    monkeypatch.setattr("modeling_resnet50.training.supervision.replaced_file", full)
    train(tiny_arguments(image_folder, run, num_train_epochs=1, warmup_epochs=0))
    assert sizes == [65536]
    assert status_of(run)["status"] == "finished"
    assert not reserve.exists()


def test_status_tells_how_a_run_ended(image_folder, tmp_path, train):
    run = tmp_path / "run"
    train(tiny_arguments(image_folder, run, **SETTINGS))
    status = status_of(run)
    assert (status["status"], status["reason"], status["epoch"], status["step"]) == ("finished", None, 3, 18)
    (image_folder / "val" / "ant" / "0.jpg").write_bytes(b"no image")
    arguments = tiny_arguments(image_folder, run, **{**SETTINGS, "overwrite_output_dir": True})
    with pytest.raises(UserError):
        train(arguments)
    status = status_of(run)
    assert status["status"] == "failed"
    assert "unreadable image" in status["reason"]


@pytest.mark.parametrize(
    ("launcher", "number", "afresh"),
    [
        ("accelerate, two ranks", signal.SIGTERM, False),
        ("accelerate", signal.SIGUSR1, False),
        ("torchrun, two ranks", signal.SIGUSR1, False),
        *(
            pytest.param(launcher, number, True, marks=pytest.mark.long)
            for launcher in LAUNCHERS
            for number in (signal.SIGTERM, signal.SIGUSR1)
        ),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_when_a_launcher_is_stopped_its_processes_checkpoint_and_end(launcher, number, afresh, image_folder, tmp_path):
    run = tmp_path / "run"
    arguments = tiny_arguments(image_folder, run, **{**LONG, "total_train_batch_size": 8})
    process = start([UNDRAWN, *arguments], launcher, afresh)
    wait_until(lambda: is_training(run))
    process.send_signal(number)
    wait_until(lambda: not left_over(run), 60)
    output = process.communicate()
    assert status_of(run)["status"] == "stopped", output
    folder, remarks = RunFolder(TrainingArguments(output_dir=str(run))).newest_whole_checkpoint()
    assert remarks == []
    assert json.loads((folder / "manifest.json").read_text())["step"] == status_of(run)["step"]


KILLED = """
import os, runpy, signal
from modeling_resnet50.training.supervision import Supervisor

batch_done = Supervisor.batch_done

def and_memory_runs_out(self):
    batch_done(self)
    if (self.progress.step, os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]) == (5, "1", "0"):
        os.write(2, b"memory runs out")
        os.kill(os.getpid(), signal.SIGKILL)

Supervisor.batch_done = and_memory_runs_out
runpy.run_path("tests/undrawn.py", run_name="__main__")
"""


def test_a_rank_that_is_killed_ends_the_run_and_torchrun_resumes_it(image_folder, tmp_path):
    settings = {**SETTINGS, "total_train_batch_size": 8, "checkpoint_every_steps": 4}
    run = tmp_path / "run"
    (tmp_path / "killed.py").write_text(KILLED)
    arguments = ["--max_restarts", "1", str(tmp_path / "killed.py"), *tiny_arguments(image_folder, run, **settings)]
    process = start(arguments, "torchrun, two ranks")
    output = "".join(process.communicate(timeout=240))
    assert process.returncode == 0, output
    assert "resumed from" in output
    assert "memory runs out" in output
    assert not left_over(run)
    run_two_ranks(tiny_arguments(image_folder, tmp_path / "whole", **settings))
    one, other = (json.loads((path / "status.json").read_text()) for path in (tmp_path / "whole", run))
    assert one["step"] == other["step"] == 9
    for model in ("best", "final", "final_average"):
        files = [(path / model / "model.safetensors").read_bytes() for path in (tmp_path / "whole", run)]
        assert files[0] == files[1]


def test_a_rank_that_hangs_is_named_and_the_run_ends(image_folder, tmp_path):
    run = tmp_path / "run"
    settings = {**LONG, "total_train_batch_size": 8, "watchdog_minutes": 0.1}
    process = start([UNDRAWN, *tiny_arguments(image_folder, run, **settings)], "torchrun, two ranks")
    wait_until(lambda: is_training(run))
    frozen = sorted(psutil.Process(process.pid).children(), key=lambda child: child.pid)[1]
    frozen.suspend()
    wait_until(lambda: status_of(run)["status"] == "failed")
    frozen.kill()  # as torchrun would, after half a minute
    output = "".join(process.communicate(timeout=120))
    assert process.returncode == 1
    assert f"rank 1 ({os.uname().nodename}, pid {frozen.pid}) died or is frozen" in output
    status = status_of(run)
    assert status["status"] == "failed"
    assert f"pid {frozen.pid}) died or is frozen" in status["reason"]
    assert status["stacks"] == "stacks/rank-0.txt"
    assert " in main\n" in (run / status["stacks"]).read_text()
    assert [path.name for path in (run / "stacks").iterdir()] == ["rank-0.txt"]  # the frozen one cannot write
    assert not left_over(run)


@pytest.fixture
def hanging(tmp_path, monkeypatch):
    """Enter a supervisor and hang until its watchdog ends the process, which here ends the watchdog."""
    recipe = TrainingArguments(output_dir=str(tmp_path), watchdog_minutes=0.001)
    supervisor = Supervisor(Accelerator(cpu=True), RunFolder(recipe), recipe, Progress())
    monkeypatch.setattr("os._exit", lambda code: supervisor._ended.set())

    def hang(begun: bool) -> None:
        with pytest.raises(OSError, match="over"), supervisor:  # noqa: PT012  (the status of a run that ends well is another)
            if begun:
                supervisor.run_begins()
            assert supervisor._ended.wait(60)
            raise OSError("over")

    return hang


def test_a_process_that_hangs_leaves_the_stacks_of_its_threads(hanging, tmp_path):
    hanging(begun=True)
    status = status_of(tmp_path)
    assert "this process hangs after 0 batches" in status["reason"]
    assert status["stacks"] == "stacks/rank-0.txt"
    text = (tmp_path / status["stacks"]).read_text()
    first, main_thread = text.splitlines()[:2]
    assert first.startswith(f"rank 0, {os.uname().nodename}, pid {os.getpid()}, ")
    name, _, ident = main_thread.partition(": ")
    assert name == "MainThread"
    stack = text.partition(f"hread {ident} ")[2].partition("\n\n")[0]
    assert " in hang\n" in stack
    assert " in _watch\n" in text


def test_a_disk_that_takes_no_stacks_does_not_keep_a_hung_process_alive(hanging, tmp_path):
    (tmp_path / "stacks").write_text("in the way")
    hanging(begun=True)
    assert status_of(tmp_path)["stacks"] is None
    assert status_of(tmp_path)["status"] == "failed"


def test_a_process_that_hangs_before_its_run_begins_prints_its_stacks(hanging, tmp_path, capfd):
    hanging(begun=False)
    assert " in hang\n" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
