"""`resnet50 evaluate --probe`: the images that a probe is fitted on, and what it then says."""

import argparse
from collections.abc import Callable
from dataclasses import replace

import datasets

from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe

from ..data.sources import load_train_and_validation
from ..evaluation.predictions import Predictions
from ..evaluation.probe import FeatureModel, probe
from ..hub.classifiers import Classifier


def load_training_images(options: argparse.Namespace) -> datasets.Dataset | None:
    """
    The split that a recipe would train on; None without a probe.

    Raises:
        UserError: there is none, or a probe cannot do what else is asked for.
    """
    if options.probe is None:
        return None
    others = (options.suite, options.foreign, options.wanted_precision)
    if options.streaming or options.protocol == "both" or any(other is not None for other in others):
        raise UserError(
            "--probe judges a model's features by one data set at hand: it goes without --suite, --streaming, "
            "--foreign, --wanted_precision and --protocol both"
        )
    recipe = Recipe(
        dataset_name=options.dataset,
        dataset_config_name=options.dataset_config,
        train_split_name=None if options.train_val_split is None else options.split,
        validation_split_name=options.split if options.train_val_split is None else None,
        train_val_split=options.train_val_split,
        seed=options.seed,
        image_column_name=options.image_column,
        label_column_name=options.label_column,
    )
    return load_train_and_validation(recipe)[0]


def of_features(name: str, classifier: Classifier, label_names: list[str]) -> Classifier:
    """
    A classifier that answers with its features, and knows the classes of the data.

    Raises:
        UserError: it has no linear classifier, or is an ONNX file.
    """
    return replace(classifier, model=FeatureModel(classifier.model, name), label_names=label_names, codes=None)


def probed(
    kind: str,
    classifier: Classifier,
    train: datasets.Dataset,
    dataset: datasets.Dataset,
    predict: Callable[[Classifier, datasets.Dataset], Predictions],
) -> Predictions:
    """What a probe says of `dataset`, fitted on `train`. `classifier`: made by `of_features`."""
    return probe(kind, predict(classifier, train), predict(classifier, dataset))
