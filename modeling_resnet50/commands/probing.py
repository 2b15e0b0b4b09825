"""`resnet50 evaluate --probe`: the images that a probe is fitted on, and the model as one that gives features."""

from dataclasses import replace

import datasets

from resnet50_recipe.recipe import Recipe

from ..data.sources import load_train_and_validation
from ..evaluation.probe import FeatureModel
from ..evaluation.probe import probe as probed
from ..hub.classifiers import Classifier
from .typed_options import Source


__all__ = ["of_features", "probed", "training_images"]


def training_images(source: Source, train_val_split: float | None, seed: int) -> datasets.Dataset:
    """
    The images that a recipe would train on.

    Args:
        source: what the model is judged by.
        train_val_split, seed: the recipe's, by which these were held out; None: they are a split of their own.
    """
    assert source.dataset is not None
    held_out = train_val_split is not None
    recipe = Recipe(
        dataset_name=source.dataset,
        dataset_config_name=source.dataset_config,
        train_split_name=source.split if held_out else None,
        validation_split_name=None if held_out else source.split,
        train_val_split=train_val_split,
        seed=seed,
        image_column_name=source.image_column,
        label_column_name=source.label_column,
    )
    return load_train_and_validation(recipe)[0]


def of_features(name: str, classifier: Classifier, train: datasets.Dataset) -> Classifier:
    """
    A classifier that answers with its features, and knows the classes of the data.

    Raises:
        UserError: it has no linear classifier, or is an ONNX file.
    """
    label_names = train.features["label"].names
    return replace(classifier, model=FeatureModel(classifier.model, name), label_names=label_names, codes=None)
