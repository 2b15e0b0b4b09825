"""
From YAML and the command line to a checked `Recipe`.

    train.py --config recipes/NAME.yaml [--any_field value]

Numbers may be written as arithmetic, `learning_rate: 0.1 * total_train_batch_size / 256`: it is worked out after the
command line is read, so the rule holds for any batch size.
"""

import argparse
import ast
import copy
import operator
import re
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn

import yaml
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import HfArgumentParser

from .errors import UserError, cause, did_you_mean
from .recipe import Recipe


_OPERATIONS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}
# What arithmetic may refer to.
_KNOWN_NUMBERS = ("total_train_batch_size", "num_train_epochs")
_LONGEST = 200  # characters of arithmetic, which also bounds how deep it is
_LONGEST_SHOWN = 60


def load_recipe_file(path: str | Path) -> dict[str, Any]:
    """
    Read and check a recipe's YAML.

    Returns:
        The fields it sets, each of the right name and type; arithmetic is checked, and still a string.

    Raises:
        UserError: no such file, not YAML, an unknown key, or a value of the wrong type.
    """
    path = Path(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the recipe {path}: {error}. There are:", *_recipe_names()) from error
    except _YAML_ERRORS as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold `field: value` lines, not a {type(values).__name__}")
    types_of = typing.get_type_hints(Recipe)
    for name, value in values.items():
        if name not in types_of:
            raise UserError(f"{path}: unknown key {name!r}{did_you_mean(str(name), types_of)}")
        values[name] = _whole_numbers_as_floats(value, types_of[name])
    try:
        _recipe(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return values


def parse_recipe(arguments: list[str] | None = None) -> Recipe:
    """
    `--config recipes/X.yaml [--any_field value]` as a checked recipe. `--help` explains each field.

    Args:
        arguments: the command line, without the program's name. None: this process's own.

    Raises:
        UserError: anything wrong with the file or the command line.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _Parser(
        Recipe,  # type: ignore[arg-type]  # to transformers, a dataclass is a type of its own
        description="Train a ResNet-50. Start it with `accelerate launch train.py …`, or with python for one process.",
        usage="train.py --config recipes/NAME.yaml [--FIELD VALUE ...]",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="The recipe. Fields given beside it override its own.")
    config, _ = parser.parse_known_args(arguments)
    if config.config is None:
        raise UserError("which recipe? Give one with --config:", *_recipe_names())
    parser.set_defaults(**load_recipe_file(config.config))
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [f"--{f.name}" for f in fields(Recipe)]
        raise UserError(f"unknown argument {unknown[0]!r}{did_you_mean(unknown[0], known)} --help lists them all")
    values = vars(namespace)
    name = Path(values.pop("config")).stem
    values["output_dir"] = values["output_dir"] or f"runs/{name}"
    return _recipe(values)


def _recipe(values: dict[str, Any]) -> Recipe:
    """Raises: UserError, for the first thing that is wrong with these fields."""
    numbers = {f.name: values.get(f.name, f.default) for f in fields(Recipe) if f.name in _KNOWN_NUMBERS}
    types_of = typing.get_type_hints(Recipe)
    worked_out: dict[str, Any] = {
        name: _calculate(name, value, numbers) if isinstance(value, str) and _accepts(types_of[name], float) else value
        for name, value in values.items()
    }
    try:
        return Recipe(**worked_out)
    except StrictDataclassFieldValidationError as error:
        raise UserError(cause(error)) from error


def _calculate(name: str, text: str, numbers: dict[str, float]) -> float:
    """
    The value of an expression: numbers, + - * / **, parentheses, and the names of `numbers`. All of it in floating
    point: `9**9**9` overflows at once, where whole numbers would be multiplied out for ever.
    """
    shown = repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…")
    if len(text) > _LONGEST:
        raise UserError(f"{name}: cannot work out {shown}: {len(text):,} characters, and {_LONGEST} are the most")

    def value(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=known) if known in numbers:
                return float(numbers[known])
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATIONS:
                return _OPERATIONS[type(op)](value(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
                return _OPERATIONS[type(op)](value(left), value(right))
        raise UserError(
            f"{name}: {shown} is neither a number nor arithmetic (+ - * / ** and parentheses) of numbers and "
            + " and ".join(numbers)
        )

    try:
        return float(value(ast.parse(text, mode="eval").body))
    except (SyntaxError, ArithmeticError, TypeError, ValueError, MemoryError) as error:
        if isinstance(error, UserError):
            raise
        # Of an overflow, Python also tells the number that C has for it.
        reason = error.msg if isinstance(error, SyntaxError) else error.args[-1] if error.args else "too deep"
        raise UserError(f"{name}: cannot work out {shown} ({reason})") from error


# A day that no calendar has, or a number of thousands of digits; brackets in brackets by the thousand.
_YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but `1e-4` is a number, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


class _Parser(HfArgumentParser):
    @staticmethod
    def _parse_dataclass_field(parser: argparse.ArgumentParser, field: Field[Any]) -> None:
        # The parent strips `None` from the field's own type, which `strict` still needs.
        HfArgumentParser._parse_dataclass_field(parser, copy.copy(field))
        action: Any = parser._actions[-1]
        if any(typing.get_origin(kind) is list for kind in typing.get_args(field.type)):
            action.nargs = "+"  # one word or several: of three types, the parent takes the second
        if action.type is float and action.nargs is None:
            action.type = str  # a number or arithmetic, for `_calculate`
        elif action.type is dict:
            action.type = _mapping

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def _mapping(text: str) -> dict[str, Any]:
    try:
        value = yaml.load(text, Loader=_Loader)
    except _YAML_ERRORS:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"not a YAML mapping such as '{{stem_type: cifar}}': {text!r}")
    return value


def _recipe_names() -> list[str]:
    """The recipes in reach, each with the first line of its header."""
    folder = Path("recipes")
    lines = [
        f"  {path}  {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}"
        for path in sorted(folder.glob("*.yaml"))
    ]
    return lines or ["  none in ./recipes; start from the project's folder"]


def _whole_numbers_as_floats(value: Any, hint: Any) -> Any:
    """`learning_rate: 1` means 1.0. Everything else stays as it is, for the type check to judge."""
    if type(value) is int and _accepts(hint, float) and not _accepts(hint, int):
        return float(value)
    if isinstance(value, list) and _accepts(hint, list[float]):
        return [_whole_numbers_as_floats(item, float) for item in value]
    return value


def _accepts(hint: Any, kind: Any) -> bool:
    return kind in (typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,))
