"""The `resnet50` command line: what it says, how fast it can, and what it ends with."""

import ast
import errno
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout

import pytest
from accelerate import Accelerator
from shared import PROJECT, TINY, run_python

import resnet50_cli
from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification, __version__
from modeling_resnet50.data.preprocessing import Preprocessing, choices
from modeling_resnet50.evaluation.results import versions
from modeling_resnet50.evaluation.suites import SUITES
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.plan import KNOWN_DATA
from modeling_resnet50.prepare.check import EXPECTATIONS
from modeling_resnet50.training.environment import describe_environment
from resnet50_cli import COMMANDS, create_parser, main, parse_arguments
from resnet50_recipe.errors import UserError, errors_exit_cleanly
from resnet50_recipe.exit_codes import ExitCode
from resnet50_recipe.terminal import say


PREPARE = ["tiny-imagenet", "imagenet1k", "folder", "check", "push"]
ALL = [[], *([name] for name in COMMANDS), *(["prepare", what] for what in PREPARE)]


def printed(arguments: list[str]) -> str:
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    return out.getvalue()


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_help_fits_a_screen_and_ends_with_an_example_that_parses(command, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = printed([*command, "--help"]).splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= columns
    example = re.fullmatch(r"example: resnet50 (.+)", lines[-1])[1].split()
    assert example[: len(command)] == command
    if "--help" not in example:
        create_parser().parse_args(example)


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_every_option_says_what_it_is_for(command):
    for line in printed([*command, "--help"]).splitlines():
        assert not re.fullmatch(r" +--\S+( \S+)?", line), line


def test_commands_without_many_options_fit_a_small_screen(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in (
        ["compare"],
        ["demo"],
        ["prepare"],
        *(["prepare", what] for what in PREPARE if what != "imagenet1k"),
    ):
        assert len(printed([*command, "--help"]).splitlines()) <= 28, command


def test_help_version_completion_and_mistakes_import_nothing_heavy():
    program = (
        "import sys\nfrom resnet50_cli import main\n"
        "for line in (['--version'], ['plan', '--help'], ['--print_completion', 'bash'], ['import', 'x', '--bad']):\n"
        "    try:\n        main(line)\n    except SystemExit as exit:\n        print(exit.code)\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'modeling_resnet50'} & set(sys.modules)))\n"
    )
    done = run_python(["-c", program], fresh=True)
    assert done.stdout.endswith("2\n[]\n"), done.stderr
    assert f"resnet50 {__version__}\n0\n" in done.stdout


def test_a_source_tree_on_the_path_knows_its_version(monkeypatch, capsys):
    def version(name: str) -> str:
        if name == "modeling-resnet50":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(importlib.metadata, "version", version)
    for module in ("modeling_resnet50.training.environment", "modeling_resnet50.evaluation.results"):
        monkeypatch.setattr(f"{module}.version", version)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"resnet50 {__version__}\n"
    libraries = describe_environment(Accelerator(cpu=True), 2, 1)["libraries"]
    assert (libraries["modeling-resnet50"], libraries["timm"]) == (__version__, "1.2.3")
    assert versions()["modeling-resnet50"] == __version__


def test_the_command_line_imports_only_the_standard_library():
    for path in (PROJECT / "resnet50_cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
                outside = {name.split(".")[0] for name in names} - sys.stdlib_module_names
                assert outside <= {"shtab", "resnet50_recipe"}, path  # for completion, where it is installed


def test_names_that_the_command_line_repeats_are_the_librarys():
    assert list(SUITES) == resnet50_cli.evaluate.SUITES
    assert list(choices("interpolation")) == resnet50_cli.parsing.INTERPOLATIONS
    assert list(choices("exif_orientation")) == resnet50_cli.parsing.EXIF_ORIENTATIONS
    assert list(choices("crop_mode")) == resnet50_cli.parsing.CROP_MODES
    assert list(EXPECTATIONS) == resnet50_cli.prepare.EXPECTATIONS
    assert resnet50_cli.prepare.HUB_REPOSITORY in KNOWN_DATA


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ev"], ["evaluate"]),
        (["evaluate", "--interp"], ["--interpolation"]),
        (["export", "model", "out", "--format", "tr"], ["transformers"]),
        (["prepare", "ti"], ["tiny-imagenet"]),
    ],
)
def test_bash_completes(words, expected, tmp_path):
    script = tmp_path / "completion.bash"
    script.write_text(printed(["--print_completion", "bash"]))
    program = (
        f'source "{script}"; COMP_WORDS=(resnet50 {" ".join(words)}); COMP_CWORD={len(words)}; '
        "_shtab_resnet50; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == expected, done.stderr


def test_completion_without_shtab_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as exit_:
        main(["--print_completion", "bash"])
    assert exit_.value.code == 2
    assert "pip install 'modeling-resnet50[completion]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["evalute"], "invalid choice: 'evalute'", "resnet50 --help"),
        (["evaluate", "x", "--datset", "y"], "did you mean '--dataset'?", "resnet50 evaluate --help"),
        (["prepare", "check"], "required: SOURCE", "resnet50 prepare check --help"),
        (["import", "a", "b", "--config_overrides", "x"], "not a JSON object", "resnet50 import --help"),
    ],
)
def test_a_mistake_is_one_line_and_a_hint(arguments, message, hint, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    error, last = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert last == f"hint: {hint}"


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (UserError("no such folder: x"), "error: no such folder: x", 2),
        (IsADirectoryError(errno.EISDIR, "", "x.json"), "error: cannot open or write x.json: Is a directory", 2),
        (RuntimeError("two\nlines"), "unexpected: RuntimeError: two lines", 1),
    ],
    ids=["ours", "a folder", "unexpected"],
)
def test_tracebacks_only_with_debug(error, line, code, debug, capsys):
    with pytest.raises(SystemExit) as exit_, errors_exit_cleanly(debug):
        raise error
    assert exit_.value.code == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(line)
    assert ("Traceback (most recent call last):" in lines) is debug
    assert debug or len(lines) == 1
    assert ("--debug" in lines[-1]) is (code == 1 and not debug)


def test_a_reader_that_has_read_enough_is_no_error(capfd, monkeypatch):
    """`resnet50 predict … | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w"))
    with pytest.raises(SystemExit) as exit_, errors_exit_cleanly():
        say("to nobody")
    assert exit_.value.code == 1
    sys.stdout.close()
    monkeypatch.undo()
    with pytest.raises(SystemExit), errors_exit_cleanly():  # another pipe, which is no reader of ours
        raise BrokenPipeError("a worker has gone")
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("unexpected: BrokenPipeError: a worker has gone")


@pytest.mark.parametrize("arguments", [["--debug", "predict", "m", "i"], ["predict", "m", "i", "--debug"]])
def test_debug_stands_before_or_after_the_command(arguments):
    assert create_parser().parse_args(arguments).debug


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_options_are_spelt_with_underscores(command):
    assert not re.findall(r"--[a-z0-9_]+-\S*", printed([*command, "--help"]))


def test_hyphens_in_options_are_understood_and_in_values_left_alone():
    options = parse_arguments(["prepare", "folder", "a-b", "--to=c-d", "--num-proc", "3", "--short-side=none"])
    assert options.num_proc == 3
    options = parse_arguments(["publish", "run", "--to", "ann/my-net", "--static-space=a-b", "--dry-run"])
    assert (options.to, options.static_space, options.dry_run) == ("ann/my-net", "a-b", True)
    options = parse_arguments(["plan", "digits.yaml", "--num-train-epochs", "3", "--output-dir=a-b"])
    assert options.passed_on == ["--num_train_epochs", "3", "--output_dir=a-b"]
    assert parse_arguments(["predict", "model", "--batch-size", "3", "--", "--a-b.jpg"]).images == ["--a-b.jpg"]


def test_ctrl_c_is_one_word_and_130(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("modeling_resnet50.commands.predict.run", interrupted)
    with pytest.raises(SystemExit) as exit_:
        main(["predict", "model", "image"])
    assert exit_.value.code == 130
    assert capsys.readouterr().err == "stopped at once\n"


def test_the_package_ends_with_no_other_code():
    """What `sys.exit` gets in a program is an `ExitCode`. The uploader is a process of its own, heard by us alone;
    so is a Space, by whoever reads its log."""
    programs = [PROJECT / "train.py", *(PROJECT / "modeling_resnet50").rglob("*.py")]
    for path in programs:
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "exit(" in text else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "os._exit"):
                given = ast.unparse(node.args[0])
                in_own_process = path.name in ("upload.py", "loader.py", "app.py")
                assert in_own_process or given.startswith("ExitCode.") or path.name == "errors.py", (path, given)


def test_exit_codes_are_documented():
    text = (PROJECT / "docs" / "troubleshooting.md").read_text()
    for code in ExitCode:
        assert re.search(rf"^\| {code.value} \| {re.escape(code.meaning)}", text, re.MULTILINE), code


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "model"
    processor = image_processor(Preprocessing.by_ratio(16, 1.0, "bilinear", [0.5] * 3, [0.5] * 3))
    save_model_and_processor(folder, ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3)), processor)
    return folder


def lines_of_json(arguments: list[str], capsys) -> list[dict]:
    try:
        main(arguments)
    except SystemExit as exit:
        assert exit.code == ExitCode.FAILED  # noqa: PT017
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_is_all_that_is_printed_on_standard_output(model_folder, image_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = str(PROJECT / "recipes" / "digits.yaml")
    (plan,) = lines_of_json(["plan", recipe, "--num_processes", "1", "--json"], capsys)
    assert plan["total_steps"] == plan["steps_per_epoch"] * 9
    assert plan["hours"].keys() == {"A100", "H100", "H200"}
    (check,) = lines_of_json(["prepare", "check", str(image_folder), "--num_proc", "1", "--json"], capsys)
    assert check["images"] == {"train": 24, "val": 15}
    assert (check["classes"], check["problems"]) == (3, [])
    (export,) = lines_of_json(["export", str(model_folder), "out.pt2", "--format", "pt2", "--json"], capsys)
    assert export == {"out": "out.pt2", "format": "pt2"}
    (imported,) = lines_of_json(["import", f"{model_folder}/model.safetensors", "imported", "--json"], capsys)
    model = ResNet50ForImageClassification.from_pretrained(model_folder)
    assert imported["parameters"] == sum(p.numel() for p in model.parameters())
