"""Weights that a training run starts from, or learns from."""

from typing import Any

from torch import nn

from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe

from ..architecture import model_config
from ..configuration_resnet50 import ResNet50Config
from ..modeling_resnet50 import ResNet50ForImageClassification
from .classifiers import TimmClassifier, require_one_class_per_image
from .importing import import_model, open_timm, timm_mean_std, timm_name
from .model_folder import load_model


def starting_model(recipe: Recipe, label_names: list[str]) -> ResNet50ForImageClassification:
    """
    The model at the beginning of a run: new, or with the weights of `model_name_or_path`.

    Its classifier is kept if it tells the same classes apart, in whatever order. Draws from PyTorch's global
    generator.

    Raises:
        UserError: nothing there, no ResNet, or made for images that are normalised in another way.
    """
    if recipe.model_name_or_path is None:
        return ResNet50ForImageClassification(model_config(recipe, label_names))
    source = recipe.model_name_or_path
    wanted: dict[str, Any] = {"num_labels": len(label_names), "config_overrides": recipe.config_overrides}
    imported = import_model(source, classifier="fit", **wanted)
    order = _order_of(label_names, imported.model.config)
    if order is None:
        imported = import_model(source, classifier="new", **wanted)
    num_channels = imported.model.config.num_channels
    if num_channels != recipe.num_channels:
        raise UserError(
            f"{source} takes images of {num_channels} channels, the recipe has {recipe.num_channels}: set "
            "num_channels in config_overrides, and image_mean and image_std of as many numbers"
        )
    for name in ("image_mean", "image_std"):
        theirs, ours = list(getattr(imported.preprocessing, name)), getattr(recipe, name)
        if any(abs(a - b) > 1e-3 for a, b in zip(theirs, ours)):
            flag = f"--{name} {' '.join(map(str, theirs))}"
            raise UserError(f"{source} was trained with {name} {theirs}, the recipe has {ours}: give {flag}")
    model = imported.model
    assert isinstance(model, ResNet50ForImageClassification), "with a classifier, which `drop` would not give"
    if order is not None:
        model.fc.weight.data, model.fc.bias.data = model.fc.weight.data[order], model.fc.bias.data[order]
    model.config.pretrained_cfg = None  # the recipe prepares the images, and the classes are the data's
    model.config.confidence_threshold = None  # it was for the weights before
    model.config.problem_type = None  # one class for each image, whatever it was before
    model.config.id2label = dict(enumerate(label_names))
    return model


def _order_of(label_names: list[str], config: ResNet50Config) -> list[int] | None:
    """The data's classes among those of a model; None if they are others. A model without names has them in order."""
    names = [name for _, name in sorted((config.id2label or {}).items())]
    if names == [f"LABEL_{index}" for index in range(len(label_names))]:
        return list(range(len(label_names)))
    for known in (names, config.class_codes() or []):
        if sorted(known) == sorted(label_names) and len(set(known)) == len(known):
            return [known.index(name) for name in label_names]
    return None


def load_teacher(name_or_path: str) -> tuple[nn.Module, list[float], list[float]]:
    """
    A classifier to learn from, and the mean and standard deviation its images are normalised by. It has
    `config.num_labels` and returns `logits`, as transformers' models do.

    Raises:
        UserError: as `load_model`, or it is a multi-label model.
    """
    name = timm_name(name_or_path)
    if name is not None:  # transformers' wrapper cannot open what timm 1.0.31 writes
        model = open_timm(name, name_or_path)
        return TimmClassifier(model), *timm_mean_std(model)
    model, processor = load_model(name_or_path)
    require_one_class_per_image(name_or_path, model)
    return model, list(processor.image_mean), list(processor.image_std)
