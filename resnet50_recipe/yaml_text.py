"""YAML that people read as well."""

from typing import Any

import yaml


_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml is several times as fast, where PyYAML has it


def to_yaml(values: Any, width: int = 119) -> str:
    """In the order and, but for emoji, in the characters they have. Long texts are broken at `width`."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
    return text
