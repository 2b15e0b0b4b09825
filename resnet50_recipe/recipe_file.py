"""
From YAML and the command line to checked `TrainingArguments`.

    train.py --config recipes/NAME.yaml [--any_field value]

Numbers may be written as arithmetic, `learning_rate: 0.1 * total_train_batch_size / 256`: it is worked out after the
command line is read, so the rule holds for any batch size.
"""

import argparse
import ast
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

from .errors import UserError, cause, did_you_mean
from .recipe import CLASS_WEIGHTS, Recipe
from .run_options import RunOptions
from .settings import default_of
from .training_arguments import TrainingArguments


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
    types_of = typing.get_type_hints(TrainingArguments)
    for name, value in values.items():
        if name not in types_of:
            raise UserError(f"{path}: unknown key {name!r}{did_you_mean(str(name), types_of)}")
        values[name] = _whole_numbers_as_floats(value, types_of[name])
    try:
        _checked(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return values


def parse_recipe(arguments: list[str] | None = None) -> TrainingArguments:
    """
    `--config recipes/X.yaml [--any_field value]` as a checked recipe. `--help` explains each field.

    Args:
        arguments: the command line, without the program's name. None: this process's own.

    Raises:
        UserError: anything wrong with the file or the command line.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    config, _ = parser.parse_known_args(arguments)
    if config.config is None:
        raise UserError("which recipe? Give one with --config:", *_recipe_names())
    parser.set_defaults(**load_recipe_file(config.config))
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [f"--{field.name}" for field in fields(TrainingArguments)]
        raise UserError(f"unknown argument {unknown[0]!r}{did_you_mean(unknown[0], known)} --help lists them all")
    values = vars(namespace)
    name = Path(values.pop("config")).stem
    values["output_dir"] = values["output_dir"] or f"runs/{name}"
    return _checked(values)


def _checked(values: dict[str, Any]) -> TrainingArguments:
    """Raises: UserError, for the first thing that is wrong with these fields."""
    numbers = {f.name: values.get(f.name, f.default) for f in fields(TrainingArguments) if f.name in _KNOWN_NUMBERS}
    types_of = typing.get_type_hints(TrainingArguments)
    worked_out: dict[str, Any] = {
        name: _calculate(name, value, numbers) if isinstance(value, str) and _accepts(types_of[name], float) else value
        for name, value in values.items()
    }
    if "class_weights" in worked_out:
        worked_out["class_weights"] = _read_class_weights(worked_out["class_weights"])
    try:
        return TrainingArguments(**worked_out)
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
        if isinstance(error, TypeError):
            reason = "no real number"
        raise UserError(f"{name}: cannot work out {shown} ({reason})") from error


def _read_class_weights(value: Any) -> Any:
    """The weights themselves instead of their file, so that a run keeps them whatever becomes of it."""
    if isinstance(value, str) and value not in CLASS_WEIGHTS:
        try:
            value = yaml.load(Path(value).expanduser().read_text(encoding="utf-8"), Loader=_Loader)
        except (OSError, *_YAML_ERRORS) as error:
            names = ", ".join(CLASS_WEIGHTS)
            raise UserError(f"class_weights is none of {names}, and no file to be read: {cause(error)}") from error
    if isinstance(value, dict):  # a class may be called 7
        return {str(name): _whole_numbers_as_floats(weight, float) for name, weight in value.items()}
    return _whole_numbers_as_floats(value, list[float])


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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def _parser() -> _Parser:
    """For `--config` and every field, in two groups."""
    parser = _Parser(
        description="Train a ResNet-50. Start it with `accelerate launch train.py …`, or with python for one process.",
        usage="train.py --config recipes/NAME.yaml [--FIELD VALUE ...]",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="The recipe. Fields given beside it override its own.")
    groups: dict[str, type[Recipe | RunOptions]] = {
        "the recipe, which decides the result": Recipe,
        "options of the run, free to change within it": RunOptions,
    }
    for title, declared in groups.items():
        group = parser.add_argument_group(title)
        for field in fields(declared):
            group.add_argument(
                *dict.fromkeys([f"--{field.name}", f"--{field.name.replace('_', '-')}"]),
                default=default_of(field),
                help=_help(field),
                **_reading(field.type),
            )
    return parser


def _help(field: Field[Any]) -> str:
    default = default_of(field)
    shown = "unset" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
    ranges = [f"{allowed.words}; " for allowed in field.metadata["ranges"]]
    return f"{field.metadata['help']} ({''.join(ranges)}default: {shown})".replace("%", "%%")


def _reading(hint: Any) -> dict[str, Any]:
    """How argparse is to read the words for a field of this type."""
    kind = next(kind for kind in _kinds(hint) if kind is not types.NoneType)
    if any(typing.get_origin(other) is dict for other in _kinds(hint)) and typing.get_origin(kind) is not dict:
        return {"nargs": "+", "action": _YamlWords}
    if typing.get_origin(kind) is typing.Literal:
        return {"choices": typing.get_args(kind)}
    if typing.get_origin(kind) is list:
        return {"nargs": "+", "type": typing.get_args(kind)[0]}
    if kind is bool:
        return {"nargs": "?", "const": True, "type": _boolean}
    if typing.get_origin(kind) is dict:
        return {"type": _mapping}
    return {"type": str if kind is float else kind}  # a number or arithmetic, for `_calculate`


class _YamlWords(argparse.Action):
    """One word is what YAML makes of it: a name or a mapping. Several are a list."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        try:
            read = [yaml.load(word, Loader=_Loader) for word in values]
        except _YAML_ERRORS as error:
            raise argparse.ArgumentError(self, f"not YAML: {' '.join(values)!r}") from error
        setattr(namespace, self.dest, read if len(read) > 1 else read[0])


def _boolean(text: str) -> bool:
    """By the words that transformers' parser knows."""
    if text.lower() in ("true", "yes", "t", "y", "1"):
        return True
    if text.lower() in ("false", "no", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"neither true nor false: {text!r}")


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
    return kind in _kinds(hint)


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The types that a field may have: those of a union, or the only one."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
