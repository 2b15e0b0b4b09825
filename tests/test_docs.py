"""What CONTRIBUTING and docs/ say is so: links, commands, Python, messages, fields."""

import ast
import os
import re
import shlex
from dataclasses import fields
from typing import Literal, get_args, get_origin

import pytest
import yaml
from shared import PROJECT

from modeling_resnet50 import __version__
from resnet50_cli import COMMANDS, create_parser
from resnet50_recipe.recipe_file import parse_recipe
from resnet50_recipe.settings import default_of
from resnet50_recipe.training_arguments import TrainingArguments


PACKAGES = ["modeling_resnet50", "resnet50_recipe", "resnet50_cli"]
PREPARE = ["tiny-imagenet", "imagenet1k", "folder", "check", "push"]


PAGES = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
PAGES += sorted((PROJECT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """Code blocks of all pages, with the page's name."""
    found = [(page, match) for page in PAGES for match in BLOCK.findall(page.read_text(encoding="utf-8"))]
    return [(page.name, code) for page, (name, code) in found if name == language]


def commands() -> list[tuple[str, str]]:
    """Lines and spans that begin with `resnet50 …` or start train.py with a recipe; those with a hole are left out."""
    lines = [(page, line) for page, code in blocks("bash") for line in code.replace("\\\n", " ").splitlines()]
    for page in PAGES:
        lines += [(page.name, span) for span in re.findall(r"`([^`\n]+)`", BLOCK.sub("", page.read_text()))]
    begins = r"(\w+=\S+ )*(uv run )?(resnet50 [a-z]|(python|accelerate launch|torchrun) .*train\.py --config)"
    return [(page, line) for page, line in lines if re.match(begins, line) and "…" not in line]


def test_links_lead_somewhere():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", text):
            other = (page.parent / target) if target else page
            assert other.exists(), (page.name, target)
            if anchor:
                headings = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), re.MULTILINE)
                slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in slugs, (page.name, anchor)


def test_every_page_is_linked_to():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for page in (PROJECT / "docs").glob("*.md"):
        assert re.search(rf"\]\((docs/)?{page.name}[)#]", text), page.name


def test_commands_are_understood_by_the_real_parsers():
    found = commands()
    assert len(found) > 30
    for page, line in found:
        words = shlex.split(line, comments=True)
        try:
            if "train.py" in words:
                arguments = words[words.index("train.py") + 1 :]
                arguments = [re.sub(r"^runs/(\w+)/recipe.yaml$", r"recipes/\1.yaml", word) for word in arguments]
                parse_recipe([str(PROJECT / word) if word.startswith("recipes/") else word for word in arguments])
                continue
            arguments = words[words.index("resnet50") + 1 :]
            if {*arguments} <= {*COMMANDS, *PREPARE}:  # only its name
                arguments.append("--help")
            options, passed_on = create_parser().parse_known_args(arguments)
            assert not passed_on or options.module == "plan"
        except (SystemExit, ValueError) as error:
            if getattr(error, "code", error) != 0:
                pytest.fail(f"{page}: {line}: {error}")


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = blocks("python")
    assert found
    for page, code in found:
        compile(code, page, "exec")
    for page, code in found:
        if "runs/" not in code and "user/" not in code:
            exec(compile(code, page, "exec"), {})


def fixed_words(node: ast.expr) -> list[str]:
    """The parts of a message that are always the same."""
    match node:
        case ast.Constant(value=str() as text):
            return [text]
        case ast.JoinedStr(values=values):
            parts, after_value = [], True
            for value in values:
                if isinstance(value, ast.Constant) and not after_value:
                    parts[-1] += value.value
                elif isinstance(value, ast.Constant):
                    parts.append(value.value)
                after_value = not isinstance(value, ast.Constant)
            return parts
        case ast.BinOp(left=left, right=right):
            return fixed_words(left) + fixed_words(right)
    return []


def messages() -> dict[str, list[str]]:
    """For each `UserError(…)` that says something of its own: its fixed parts."""
    found = {}
    for path in [PROJECT / "train.py", *sorted((PROJECT / "modeling_resnet50").rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "UserError":
                parts = [plain(part).strip(" :;,.()'") for part in fixed_words(node.args[0])]
                if max(map(len, parts), default=0) > 5:
                    found[f"{path.name}:{node.lineno}"] = parts
    return found


def plain(text: str) -> str:
    return " ".join(text.replace("`", "").split())


def test_troubleshooting_has_every_error():
    """Four words in a row of each message, or its longest part where none has four."""
    page = plain((PROJECT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"))
    found = messages()
    assert len(found) > 200
    absent = []
    for place, parts in found.items():
        words = [part.split() for part in parts]
        runs = [" ".join(part[start : start + 4]) for part in words for start in range(len(part) - 3)]
        if not any(run in page for run in runs or [max(parts, key=len)]):
            absent.append(f"{place}: {' … '.join(parts)}")
    assert not absent, "to be added to docs/troubleshooting.md:\n" + "\n".join(absent)


def field_row(field) -> str:
    default = default_of(field)
    shown = {"None": "unset", "True": "true", "False": "false"}.get(str(default), default)
    kinds = [field.type, *get_args(field.type)]
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    values = ", ".join([*choices, *(allowed.words for allowed in field.metadata["ranges"])])
    help_text = field.metadata["help"].replace("<", "‹").replace(">", "›")
    return f"| `{field.name}` | {shown} | {values} | {help_text} |"


def test_recipes_has_every_field_with_its_default():
    rows = {line for line in (PROJECT / "docs" / "recipes.md").read_text().splitlines() if line.startswith("| `")}
    wanted = [field_row(field) for field in fields(TrainingArguments)]
    absent = [row for row in wanted if row not in rows]
    assert not absent, "to be in docs/recipes.md:\n" + "\n".join(absent)
    assert len(rows) == len(wanted), "docs/recipes.md has a field that recipes do not have"


def test_the_ways_through_the_code_name_what_is_there():
    """Each path is a file; each `name()` is a function or class, and the one of the file that it is said to be in."""
    text = (PROJECT / "docs" / "inside.md").read_text(encoding="utf-8")
    ways = [re.findall(r"^\d+\. ", way, re.MULTILINE) for way in text.split("\n## ")[1:]]
    assert [len(stations) for stations in ways] == [10] * 4
    path = r"`((?:[\w.-]+/)+[\w.-]+\.\w+|train\.py)`"
    absent = [name for name in re.findall(path, text) if not (PROJECT / name).is_file()]
    modules = [PROJECT / "train.py", *(file for name in PACKAGES for file in (PROJECT / name).rglob("*.py"))]
    defined = {file.relative_to(PROJECT).as_posix(): names_in(file) for file in modules}
    absent += [name for name in re.findall(r"`(\w+)\(\)`", text) if not any(name in n for n in defined.values())]
    places = re.findall(rf"`(\w+)\(\)`\s+in\s+{path}", text)
    assert len(places) > 20
    absent += [f"{name} in {file}" for name, file in places if name not in defined.get(file, ())]
    assert not absent


def names_in(path) -> set[str]:
    """Of all functions and classes that a file defines."""
    kinds = ast.FunctionDef | ast.ClassDef
    return {node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kinds)}


def test_recipe_of_ones_own_is_a_recipe(tmp_path):
    ((_, code),) = [(page, code) for page, code in blocks("yaml") if page == "recipes.md"]
    path = tmp_path / "flowers.yaml"
    path.write_text(code)
    recipe = parse_recipe(["--config", str(path)])
    assert recipe.learning_rate == 0.01
    assert recipe.keep_last == 2


def test_citation_is_of_this_version():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (__version__, "Apache-2.0")


def test_each_finding_has_its_form_and_a_row():
    rows = (PROJECT / "docs" / "what-says-nothing.md").read_text(encoding="utf-8")
    scripts = sorted((PROJECT / "findings").glob("*.sh"))
    assert scripts
    for script in scripts:
        first, guess, truth, *program = script.read_text(encoding="utf-8").splitlines()
        assert first == "#!/usr/bin/env bash", script.name
        assert guess.startswith("# One would guess: "), script.name
        assert truth.startswith("# True: "), script.name
        assert "set -euo pipefail" in program, script.name
        assert re.search(r"[\w\]]==\d|@\d", "\n".join(program)), f"{script.name} pins no version"
        assert os.access(script, os.X_OK), f"{script.name} cannot be run by itself"
        assert f"`{script.stem}`" in rows, f"{script.name} has no row in what-says-nothing.md"
