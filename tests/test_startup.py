"""Nobody waits for what a command does not need, and whoever waits is told: modules are counted here, not seconds."""

import gc
import io
import json
import os
import re
import sys
import weakref
from pathlib import Path

import first_command
import pytest
from shared import PROJECT, TINY, run_python, write_image

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_cli import main
from resnet50_recipe.startup import importing


sys.path.insert(0, str(PROJECT))  # `benchmarks` is not installed

from benchmarks import startup


# Each takes a fifth of a second or more. What transformers imports by itself (torchvision, scipy.optimize) is its own.
HEAVY = {
    "datasets", "evaluate", "gradio", "matplotlib", "onnx", "onnxruntime", "pandas", "pyarrow", "scipy.stats",
    "sklearn", "tensorboard", "timm",
}  # fmt: skip
DATA = {"datasets", "pandas", "pyarrow"}
NEEDED = {
    "import": set(),
    "predict": set(),
    "export": set(),
    "inspect": set(),
    "plan": set(),
    "evaluate": DATA,
    "train.py": DATA,
}
# Each command in a process of its own, from where the package has been imported once, until it says something.
PROGRAM = """
import io, json, os, sys
from resnet50_recipe.startup import importing
with importing():
    import modeling_resnet50
from resnet50_cli import main

heavy, commands = map(json.loads, sys.argv[1:])

def loaded():
    return [name for name in heavy if name in sys.modules]

class FirstLine(io.StringIO):
    def write(self, text):
        if text.strip():
            os.write(1, json.dumps([name, loaded()]).encode() + b"\\n")
            os._exit(0)

print(json.dumps(["import", loaded()]), flush=True)
for name, arguments in commands.items():
    child = os.fork()
    if child == 0:
        if name == "train.py":
            import train
            print(json.dumps([name, loaded()]), flush=True)
            os._exit(0)
        sys.stdout = sys.stderr = FirstLine()
        main(arguments)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0, name
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Which of the heavy modules each program has, when it says its first word."""
    root = tmp_path_factory.mktemp("startup")
    model = root / "model"
    network = ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=10))
    save_model_and_processor(
        model, network, image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", [0.5] * 3, [0.5] * 3))
    )
    write_image(root / "image.jpg", seed=0)
    commands = {
        "predict": ["predict", model, root / "image.jpg"],
        "export": ["export", model, root / "exported"],
        "inspect": ["inspect", model, "--output", root / "inspection"],
        "plan": ["plan", PROJECT / "recipes" / "imagenet1k.yaml", "--picture", root / "plan.png"],
        "evaluate": ["evaluate", model, "--dataset", "digits", "--num_workers", "0"],
        "train.py": [],
    }
    as_text = {name: list(map(str, arguments)) for name, arguments in commands.items()}
    # Threads that work in the parent do not survive a fork.
    one = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    result = run_python(["-c", PROGRAM, json.dumps(sorted(HEAVY)), json.dumps(as_text)], fresh=True, **one)
    assert result.returncode == 0, result.stderr
    return dict(map(json.loads, result.stdout.splitlines()))


@pytest.mark.parametrize("name", NEEDED)
def test_until_its_first_word_a_program_imports_what_it_needs(name, imported):
    assert set(imported[name]) <= NEEDED[name]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def not_yet_imported(monkeypatch):
    """As in a process that has just begun."""
    monkeypatch.delitem(sys.modules, "torch")


def test_a_terminal_that_waits_for_imports_is_told_so_in_a_line_that_goes(not_yet_imported, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with importing():
        said = sys.stderr.getvalue()
        assert re.fullmatch(r"loading .*…\r", said)
        assert not gc.isenabled()
    assert gc.isenabled()
    assert sys.stderr.getvalue() == said + " " * (len(said) - 1) + "\r"


def test_nothing_is_said_to_a_file_nor_by_further_processes(not_yet_imported, monkeypatch, capsys):
    with importing():
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("LOCAL_RANK", "1")
    with importing():
        pass
    assert sys.stderr.getvalue() == ""


def test_what_was_imported_is_not_searched_for_garbage(not_yet_imported):
    before = gc.get_freeze_count()
    try:
        with importing(is_program=True):
            held = [[]]
        assert gc.get_freeze_count() > before
        assert not any(thing is held for thing in gc.get_objects())
    finally:
        gc.unfreeze()


class Ring:
    """Freed by the collector alone."""

    def __init__(self):
        self.itself = self


def test_what_a_program_around_ours_made_before_is_still_freed(not_yet_imported, tmp_path):
    made = Ring()
    freed = weakref.ref(made)
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path), str(tmp_path)])
    del made
    gc.collect()
    assert freed() is None


def test_a_collector_that_was_off_stays_off(not_yet_imported):
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_imports_that_fail_leave_the_collector_at_work(not_yet_imported):
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_a_program_that_has_imported_all_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with importing():
        assert gc.isenabled()
    assert sys.stderr.getvalue() == ""


def test_the_first_command_of_the_readme_prints_our_words_alone(tmp_path):
    folder = Path(os.environ.get(first_command.BEGUN, tmp_path))
    result = first_command.ended(folder)
    assert result["returncode"] == 0, result["stderr"]
    assert result["stderr"] == ""
    assert result["stdout"].splitlines()[0].startswith("recipe ")
    environment = json.loads((folder / "run" / "environment.json").read_text())
    assert environment[0]["num_processes"] == 1


def test_the_benchmarks_commands_are_there_and_a_command_is_timed_until_its_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["startup", "--dry_run"])
    startup.main()
    assert [line.partition(": ")[0] for line in capsys.readouterr().out.splitlines()] == list(startup.STARTS)
    busy = "sum(range(3000000))"
    start = startup.Start(f'-c "{busy}; print(7); {busy}; input()"', "7")
    seconds = startup.cpu_seconds(start, PROJECT, tmp_path)
    assert 0 < seconds < 10
    with pytest.raises(RuntimeError, match="too early"):
        startup.cpu_seconds(startup.Start("-c \"print('else')\"", "7"), PROJECT, tmp_path)
