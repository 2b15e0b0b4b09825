"""Weights that a training run starts from, or learns from."""

from typing import Any

from timm.data import resolve_model_data_config
from torch import nn

from ..errors import UserError
from ..modeling_resnet50 import ResNet50ForImageClassification
from ..recipe import Recipe
from .classifiers import TimmClassifier
from .importing import import_model, open_timm, timm_name
from .model_folder import load_model


def starting_model(recipe: Recipe, label_names: list[str]) -> ResNet50ForImageClassification:
    """
    The model at the beginning of a run: new, or with the weights of `model_name_or_path`.

    Its classifier is kept if it tells the same classes apart. Draws from PyTorch's global generator.

    Raises:
        UserError: nothing there, no ResNet, or made for images that are normalised in another way.
    """
    if recipe.model_name_or_path is None:
        return ResNet50ForImageClassification(recipe.model_config(label_names))
    source = recipe.model_name_or_path
    wanted: dict[str, Any] = {"num_labels": len(label_names), "config_overrides": recipe.config_overrides}
    imported = import_model(source, classifier="fit", **wanted)
    nameless = [f"LABEL_{index}" for index in range(len(label_names))]
    names = imported.model.config.id2label or {}
    if list(names.values()) not in (label_names, nameless):
        imported = import_model(source, classifier="new", **wanted)
    for name in ("image_mean", "image_std"):
        theirs, ours = getattr(imported.processor, name), getattr(recipe, name)
        if any(abs(a - b) > 1e-3 for a, b in zip(theirs, ours)):
            flag = f"--{name} {' '.join(map(str, theirs))}"
            raise UserError(f"{source} was trained with {name} {list(theirs)}, the recipe has {ours}: give {flag}")
    model = imported.model
    assert isinstance(model, ResNet50ForImageClassification), "with a classifier, which `drop` would not give"
    model.config.id2label = dict(enumerate(label_names))
    model.config.label2id = {name: index for index, name in enumerate(label_names)}
    return model


def load_teacher(name_or_path: str) -> tuple[nn.Module, list[float], list[float]]:
    """
    A classifier to learn from, and the mean and standard deviation its images are normalised by. It has
    `config.num_labels` and returns `logits`, as transformers' models do.

    Raises:
        UserError: as `load_model`.
    """
    name = timm_name(name_or_path)
    if name is not None:  # transformers' wrapper cannot open what timm 1.0.31 writes
        model = open_timm(name, name_or_path)
        data_config = resolve_model_data_config(model)
        return TimmClassifier(model), list(data_config["mean"]), list(data_config["std"])
    model, processor = load_model(name_or_path)
    return model, list(processor.image_mean), list(processor.image_std)
