"""The arrows of the package: imports fall along data → model → training → evaluation → hub, never back."""

import ast
import re
from functools import cache

import pytest
from shared import PROJECT


PACKAGE = PROJECT / "modeling_resnet50"
# What each part may import from the package, besides itself, `files` and the version.
ALLOWED = {
    "files": set(),
    "web_page": set(),
    "picture_sheet": set(),
    "configuration_resnet50": set(),
    "modeling_resnet50": {"configuration_resnet50"},
    "__init__": {"configuration_resnet50", "modeling_resnet50"},
    "architecture": {"configuration_resnet50"},
    "data": set(),
    "prepare": {"data", "web_page"},
    "training": {"picture_sheet"},
    "evaluation": {"data", "web_page", "picture_sheet"},
    "hub": {"configuration_resnet50", "modeling_resnet50", "architecture", "data", "training", "evaluation"},
    "loop": {"architecture", "data", "training", "evaluation", "hub"},
    "plan": {"configuration_resnet50", "modeling_resnet50", "architecture", "data", "training"},
    "scaling": {"plan"},
    "commands": {"modeling_resnet50", "data", "prepare", "training", "evaluation", "hub"}
    | {"plan", "scaling", "picture_sheet"},
}


def part_of(path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def nodes(path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


@cache
def package_imports(path) -> set[str]:
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.relative_to(PACKAGE).parts[: -node.level]
            found.add(".".join((*base, node.module or node.names[0].name)).split(".")[0])
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name.split(".")[0] == "modeling_resnet50" for name in names), f"{path}: import relatively"
    return found


def test_imports_fall_one_way():
    paths = sorted(PACKAGE.rglob("*.py"))
    assert {part_of(path) for path in paths} == set(ALLOWED)
    beyond = {
        str(path.relative_to(PACKAGE)): package_imports(path) - ALLOWED[part_of(path)]
        for path in paths
        if not package_imports(path) <= ALLOWED[part_of(path)] | {part_of(path), "files", "__version__"}
    }
    assert beyond == {}


@pytest.mark.parametrize(
    ("package", "above"),
    [("modeling_resnet50", ["resnet50_cli"]), ("resnet50_recipe", ["resnet50_cli", "modeling_resnet50"])],
)
def test_a_package_imports_what_stands_below_it(package, above):
    for path in (PROJECT / package).rglob("*.py"):
        for module in above:
            assert not re.search(rf"^\s*(from|import) {module}\b", path.read_text(), re.MULTILINE), path


def test_nothing_imports_train_py():
    for path in PACKAGE.rglob("*.py"):
        assert not re.search(r"^\s*(from|import) train\b", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", ["configuration_resnet50", "modeling_resnet50"])
def test_files_that_travel_to_the_hub_import_no_folder_of_the_package(name):
    # transformers copies a modeling file with its `from .x import y` siblings and nothing else.
    assert package_imports(PACKAGE / f"{name}.py") <= {"configuration_resnet50"}


def test_nothing_draws_with_pyplot_which_wants_a_display_and_keeps_every_figure():
    for path in [*PACKAGE.rglob("*.py"), PROJECT / "train.py"]:
        assert "pyplot" not in path.read_text().replace("no pyplot", ""), path


def functions(path):
    return [node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function) -> int:
    return function.end_lineno - function.lineno + 1


def test_no_function_is_longer_than_a_screen():
    folders = "modeling_resnet50", "resnet50_recipe", "resnet50_cli", "benchmarks", "examples"
    paths = [path for folder in folders for path in sorted((PROJECT / folder).rglob("*.py"))]
    longer = {
        f"{path.relative_to(PROJECT)}: {function.name}": length(function)
        for path in [*paths, PROJECT / "train.py"]
        for function in functions(path)
        if length(function) > 60
    }
    assert longer == {}


def test_train_py_can_be_read_in_one_sitting():
    """Short functions of few arguments, and in a step what every loop has: forward, loss, backward."""
    path = PROJECT / "train.py"
    assert len(path.read_text().splitlines()) <= 120
    for function in functions(path):
        assert length(function) <= 40, function.name
        assert len(function.args.args) <= 4, function.name
    step = next(f for f in functions(path) if f.name == "train_step")
    called = [ast.unparse(node.func) for node in ast.walk(step) if isinstance(node, ast.Call)]
    assert {"learner.forward", "learner.criterion", "run.accelerator.backward"} <= set(called)
    assert len(set(called)) <= 10, called
    assert not [node for node in ast.walk(step) if isinstance(node, ast.If)]


def test_what_train_py_is_made_of_only_it_imports():
    for path in PACKAGE.rglob("*.py"):
        if part_of(path) != "loop":
            assert "loop" not in package_imports(path), path


def test_only_the_doors_of_commands_see_a_namespace():
    """Behind them go typed values. `prepare` has a door for each data set; and somebody makes the values."""
    doors = {"run", "_tiny_imagenet", "_imagenet", "_folder", "_check_alone", "_push", "_torrent_settings", "typed"}
    for path in PACKAGE.rglob("*.py"):
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef) and any(
                argument.annotation is not None and "Namespace" in ast.unparse(argument.annotation)
                for argument in [*node.args.args, *node.args.kwonlyargs]
            ):
                assert path.parent.name == "commands", path
                assert node.name in doors, f"{path}: {node.name}"
