"""Names that come from strangers are shown on a terminal, and not acted on by it."""

import ast
import io
import json
import os
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress

import pytest
from shared import PROJECT, TINY, tiny_arguments, write_image
from transformers import ResNetConfig, ResNetForImageClassification

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.evaluation.results import to_json
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_cli import COMMANDS, main
from resnet50_recipe.errors import UserError, user_errors_exit_cleanly
from resnet50_recipe.terminal import ACTS, in_table, printable


CANARY = "a\x1b[31mb\x9b2J\u202ec\nd\r[bold]e"
SHOWN = r"a\x1b[31mb\x9b2J\u202ec\nd\r[bold]e"


def test_what_acts_is_spelt_out_and_what_is_read_stays():
    assert printable(CANARY) == SHOWN
    assert in_table("[bold]\x07") == r"\[bold]\x07"
    for text in ("naïve café", "日本語", "نام‌ها", "👩‍🔬", "a\\b"):  # with the joiners that some scripts need
        assert printable(text) == text
    assert printable(os.fsdecode(b"\xff.jpg")) == r"\udcff.jpg"  # which could not be printed at all


def test_json_is_the_same_and_acts_on_nothing():
    assert json.loads(to_json({"name": CANARY + "日"})) == {"name": CANARY + "日"}
    assert not ACTS.search(to_json({"name": CANARY + "日"}))
    assert json.loads(to_json([CANARY], indent=1)) == [CANARY]


def test_a_line_break_in_a_name_does_not_break_an_error(capsys):
    with pytest.raises(SystemExit), user_errors_exit_cleanly():
        raise UserError(f"{CANARY}: no such file. There are:", "one", "two")
    assert capsys.readouterr().err == f"error: {SHOWN}: no such file. There are:\none\ntwo\n"


def test_nothing_prints_by_itself():
    """But for what is printed of a process's own, or has been through it already."""
    own = {"errors.py", "supervision.py", "terminal.py", "upload.py"}
    for path in (PROJECT / "modeling_resnet50").rglob("*.py"):
        names = {
            ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        }
        assert "print" not in names or path.name in own, path


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """A data set and a model whose classes and files have such names."""
    root = tmp_path_factory.mktemp("strangers")
    names = [CANARY, "plain"]
    for split, count in (("train", 4), ("val", 2)):
        for label, name in enumerate(names):
            for number in range(count):
                write_image(root / CANARY / split / name / f"{number}{CANARY}.jpg", seed=10 * label + number)
    (root / CANARY / "val" / CANARY / f"damaged{CANARY}.jpg").write_bytes(b"no image")
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    processor = image_processor(Preprocessing.by_ratio(16, 1.0, "bilinear", [0.5] * 3, [0.5] * 3))
    model = ResNet50ForImageClassification(ResNet50Config(**TINY, **labels))
    save_model_and_processor(root / "model", model, processor)
    shutil.copytree(root / "model", root / f"model{CANARY}")
    ResNetForImageClassification(ResNetConfig(**TINY, **labels)).save_pretrained(root / f"native{CANARY}")
    processor.save_pretrained(root / f"native{CANARY}")
    return root


def commands(root) -> dict[str, list[list[str]]]:
    images, model, other = str(root / CANARY), str(root / "model"), str(root / f"model{CANARY}")
    nowhere = str(root / f"nowhere{CANARY}")
    loaded = ["--num_workers", "0", "--batch_size", "2"]
    return {
        "plan": [["plan", nowhere]],
        "status": [["status", nowhere], ["status", str(root / f"run{CANARY}")]],
        "compare": [["compare", nowhere], ["compare", str(root / f"run{CANARY}")]],
        "prepare": [["prepare", "check", images, "--num_proc", "1"], ["prepare", "check", nowhere],
                    ["prepare", "folder", images, "--to", str(root / f"to{CANARY}"), "--num_proc", "1"],
                    ["prepare", "push", nowhere, "ann/x"]],
        "evaluate": [["evaluate", model, "--dataset", images, *loaded],
                     ["evaluate", other, "--dataset", str(root / "good"), *loaded],
                     ["evaluate", nowhere, "--dataset", images]],
        "predict": [["predict", other, images], ["predict", model, images, "--json"], ["predict", nowhere, images]],
        "inspect": [["inspect", other, "--output", str(root / f"inspected{CANARY}")], ["inspect", nowhere]],
        "demo": [["demo", nowhere]],
        "publish": [["publish", nowhere, "--to", "ann/x"], ["publish", other, "--space", f"./space{CANARY}"]],
        "export": [["export", model, str(root / f"out{CANARY}")], ["export", nowhere, "x"]],
        "average": [["average", other, other, "--output", str(root / f"averaged{CANARY}")],
                    ["average", nowhere, nowhere, "--output", "x"]],
        "benchmark": [["benchmark", str(root / f"native{CANARY}"), "--rounds", "1", "--batch_sizes", "1"],
                      ["benchmark", nowhere]],
        "import": [["import", other, str(root / f"imported{CANARY}")], ["import", nowhere, "x"]],
    }  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_shows_a_strangers_name_as_it_is(command, strangers, tmp_path, monkeypatch, train):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    good = strangers / "good"
    if not good.exists():
        shutil.copytree(strangers / CANARY, good)
        (good / "val" / CANARY / f"damaged{CANARY}.jpg").unlink()
    if command in ("status", "compare") and not (strangers / f"run{CANARY}").exists():
        with redirect_stdout(io.StringIO()) as out:
            fields = {"total_train_batch_size": 4, "num_train_epochs": 1, "warmup_epochs": 0}
            train(tiny_arguments(good, strangers / f"run{CANARY}", **fields))
        assert_harmless(out.getvalue())
    said = ""
    for arguments in commands(strangers)[command]:
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err, suppress(SystemExit):
            main(arguments)
        shown = out.getvalue() + err.getvalue()
        assert_harmless(shown)
        said += shown
    assert r"a\x1b[31mb" in said or r"a\u001b[31mb" in said  # the test sees what it is after


def assert_harmless(shown: str) -> None:
    for line in shown.split("\n"):
        assert not ACTS.search(line), repr(line)
        assert not line.startswith("d\\r"), line  # the part after the line break


def test_the_fixture_would_see_it():
    with pytest.raises(AssertionError):
        assert_harmless(CANARY)
    assert sys.stdout.encoding
