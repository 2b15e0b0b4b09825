"""Sizes that config.json asks for, held against the shapes of the weights before anything of that size is built."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig
from transformers.utils import (
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    cached_file,
)

from resnet50_recipe.errors import UserError, in_one_line

from ..configuration_resnet50 import ResNet50Config
from ..modeling_resnet50 import ResNet50ForImageClassification
from .pickles import unpickle


Shapes = dict[str, tuple[int, ...]]

_CLASSES = ("num_labels", "num_classes")
_NAMES = "len(id2label)"
_HARMLESS = 1 << 16  # as some settings of small models are
_LAYERS = ("depths", "num_hidden_layers", "num_layers", "n_layer", "layers")


def check_sizes(name_or_path: str) -> None:
    """
    Refuse a config.json that does not belong to the weights beside it, before a model is built of it: of 300 million
    classes, the names alone would fill the memory.

    Args:
        name_or_path: a folder, or an id on the Hub.

    Raises:
        UserError: a number of classes or layers, or a width, that the weights do not have.
        OSError: there is no config.json.
    """
    config = PreTrainedConfig.get_config_dict(name_or_path)[0]
    shapes = _shapes_beside(name_or_path)
    if shapes is None:
        return
    check_numbers(config, shapes, name_or_path)
    if config.get("model_type") == ResNet50Config.model_type and "fc.weight" in shapes:
        _check_every_shape(config, shapes, name_or_path)


def _shapes_beside(name_or_path: str) -> Shapes | None:
    """Of the tensors in one file of weights or several, as transformers looks for them; None if it finds none."""
    for name, index in ((SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME), (WEIGHTS_NAME, WEIGHTS_INDEX_NAME)):
        file = _file(name_or_path, name)
        if file is not None:
            return read_shapes(file)
        listed = _file(name_or_path, index)
        if listed is not None:
            names = {str(part) for part in json.loads(listed.read_text(encoding="utf-8"))["weight_map"].values()}
            parts = [_file(name_or_path, part) for part in sorted(names)]
            return {key: shape for part in parts if part is not None for key, shape in read_shapes(part).items()}
    return None


def _file(name_or_path: str, name: str) -> Path | None:
    found = cached_file(name_or_path, name, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)


def read_shapes(path: Path) -> Shapes:
    """
    Of the tensors in a safetensors file, by its header; or in one of `torch.save`, whose numbers stay on the disk.

    Raises:
        UserError: it is damaged, or holds more than weights.
    """
    if path.suffix != ".safetensors":
        content = unpickle(path, "meta")
        return {name: tuple(value.shape) for name, value in content.items() if isinstance(value, torch.Tensor)}
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file: {error}") from error


def check_numbers(config: dict[str, Any], shapes: Shapes, source: str) -> None:
    """
    Refuse numbers that no model with these weights can have, whatever its architecture.

    Raises:
        UserError: more classes than a tensor has rows, more layers than tensors, or a size above all weights' number.
    """
    most_rows = max((shape[0] for shape in shapes.values() if shape), default=0)
    total = sum(torch.Size(shape).numel() for shape in shapes.values())
    for name, number in _numbers(config):
        if name in _CLASSES:
            absurd, has = number > most_rows, f"{most_rows:,} rows at most"
        elif name == _NAMES:  # a network with code of its own may have no row for each
            absurd, has = number > max(most_rows, _HARMLESS), f"{most_rows:,} rows at most"
        elif name in _LAYERS:
            absurd, has = number > len(shapes), f"{len(shapes):,} tensors"
        else:
            absurd, has = number > max(total, _HARMLESS), f"{total:,} numbers in all"
        if absurd:
            raise UserError(
                f"{source}: its config.json does not belong to its weights: {name} is {number:,}, and they have {has}"
            )


def _numbers(config: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Whole numbers and those in lists and in settings of settings, by the name of the setting."""
    for name, value in config.items():
        if name in ("id2label", "label2id"):
            if name == "id2label" and isinstance(value, dict):
                yield _NAMES, len(value)
            continue
        if isinstance(value, dict):
            yield from _numbers(value)
            continue
        numbers = [item for item in (value if isinstance(value, list) else [value]) if type(item) is int]
        yield from ((name, number) for number in [*numbers, *([sum(numbers)] if name in _LAYERS else [])])


def _check_every_shape(config: dict[str, Any], shapes: Shapes, source: str) -> None:
    try:
        with torch.device("meta"):
            model = ResNet50ForImageClassification(ResNet50Config.from_dict(config))
    except (StrictDataclassError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{source}: no model can be built of its config.json: {in_one_line(error)}") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in wanted.items():
        if name in shapes and shapes[name] != shape:
            raise UserError(
                f"{source}: its config.json does not belong to its weights: {name} would have the shape {shape}, and "
                f"has {shapes[name]}"
            )
