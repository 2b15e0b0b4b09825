"""The architecture that a recipe trains."""

from dataclasses import fields
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from resnet50_recipe.errors import UserError, cause, did_you_mean
from resnet50_recipe.recipe import Recipe

from .configuration_resnet50 import ResNet50Config


def model_config(recipe: Recipe, label_names: list[str] | None = None) -> ResNet50Config:
    """
    The architecture that a recipe trains, with a class for each of `label_names`.

    Raises:
        UserError: `config_overrides` has a field that the architecture does not have, or a value it cannot have.
    """
    overrides: dict[str, Any] = recipe.config_overrides or {}
    known = [f.name for f in fields(ResNet50Config) if f.name in ResNet50Config.__annotations__]
    if overrides.get("problem_type", "single_label_classification") != "single_label_classification":
        raise UserError(
            f"config_overrides: problem_type {overrides['problem_type']!r} is left out: train.py learns one class for "
            "each image. transformers' Trainer trains such a model by its own loss"
        )
    require_known(overrides, known)
    id2label = None if label_names is None else dict(enumerate(label_names))
    try:
        return ResNet50Config(**overrides, id2label=id2label)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise UserError(f"config_overrides: {cause(error)}") from error


def require_known(overrides: dict[str, Any], known: list[str]) -> None:
    """
    Raises:
        UserError: `config_overrides` has a field that is not one of the `known`.
    """
    for name in overrides:
        if name not in known:
            raise UserError(
                f"config_overrides: unknown field {name!r}{did_you_mean(name, known)} The architecture has: "
                + ", ".join(known)
            )
