"""The notebook runs from top to bottom, and is committed as it ran."""

import re
import shutil

import nbformat
import pytest
from nbclient import NotebookClient
from shared import PROJECT


STORED = nbformat.read(PROJECT / "notebooks" / "digits.ipynb", as_version=4)


def printed(notebook) -> str:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


def pictures(notebook) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def judge(text: str) -> None:
    """The same model in four libraries."""
    for name, difference in re.findall(r"^(timm|torchvision|onnxruntime) +differs by (\S+)$", text, re.MULTILINE):
        assert float(difference) < 1e-4, name
    assert len(re.findall(r"differs by", text)) == 3


def right(text: str) -> int:
    """Of the eight digits that are shown."""
    predicted, true = (re.search(rf"^{name} +(.*)$", text, re.MULTILINE)[1].split() for name in ("predicted", "true"))
    assert len(true) == 8
    return sum(map(str.__eq__, predicted, true))


def test_its_outputs_are_stored_and_tell_nothing_of_the_machine():
    assert all(cell.execution_count for cell in STORED.cells if cell.cell_type == "code")
    assert not any(output.output_type == "error" for cell in STORED.cells for output in cell.get("outputs", []))
    assert pictures(STORED) == 2
    judge(printed(STORED))
    assert right(printed(STORED)) >= 6
    assert "site-packages" not in nbformat.writes(STORED)
    assert not re.search(r"[\s\"'(]/(home|root|tmp|usr|Users)/", nbformat.writes(STORED)), "a path of the machine"
    assert len(nbformat.writes(STORED)) < 200_000


@pytest.fixture
def a_clone(tmp_path):
    """What the notebook needs of the project, to run in."""
    for name in ("notebooks", "recipes"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    shutil.copy(PROJECT / "train.py", tmp_path)
    return tmp_path


@pytest.mark.long
def test_it_runs(a_clone):
    """With one epoch instead of two."""
    notebook = nbformat.read(a_clone / "notebooks" / "digits.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = first.source.replace("--num_train_epochs 2", "--num_train_epochs 1")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(a_clone / "notebooks")}}).execute()
    judge(printed(notebook))
    assert pictures(notebook) == 2
