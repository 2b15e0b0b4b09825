"""How a field is declared: its default, what it is for and which values it may have stand in one place."""

import math
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from .errors import UserError


@dataclass(frozen=True)
class Range:
    """
    Which values a field may have.

    Attributes:
        words: what such a value must be, as in "at least 1".
        contains: whether a value, of the right type, is one of them.
    """

    words: str
    contains: Callable[[Any], bool]


AT_LEAST_0 = Range("0 or more", lambda value: 0 <= value < math.inf)
AT_LEAST_1 = Range("at least 1", lambda value: value >= 1)
POSITIVE = Range("positive", lambda value: 0 < value < math.inf)
SHARE = Range("in [0, 1]", lambda value: 0 <= value <= 1)
BELOW_1 = Range("in [0, 1)", lambda value: 0 <= value < 1)


def setting(default: Any, help: str, *ranges: Range, private: bool = False, repr: bool = True) -> Any:
    """
    A field of `Settings`.

    Args:
        default: its value unless given. A list is copied.
        help: what it is for, as `--help` and docs/recipes.md say it.
        ranges: its value is in each of them, or None.
        private: nothing that anyone else would want to know: it is not published.
        repr: whether it is shown with the others.
    """
    metadata = {"help": help, "ranges": ranges, "private": private}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, repr=repr, metadata=metadata)


def default_of(declared: Field[Any]) -> Any:
    """The value of a field that nobody gives."""
    return declared.default if declared.default_factory is MISSING else declared.default_factory()


@dataclass(kw_only=True)
class Settings:
    """
    Fields declared by `setting`, each checked against its ranges.

    Raises:
        UserError: a value out of its range.
    """

    def __post_init__(self) -> None:
        for declared in fields(self):
            value = getattr(self, declared.name)
            for allowed in declared.metadata["ranges"]:
                if value is not None:
                    self._require(declared.name, allowed.contains(value), f"must be {allowed.words}")

    def _require(self, name: str, condition: bool, requirement: str) -> None:
        if not condition:
            raise UserError(f"{name} {requirement}, got {getattr(self, name)!r}")
