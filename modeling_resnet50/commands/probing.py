"""`resnet50 evaluate --probe`: what a probe is fitted on, and the model that a linear one makes."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from torch import nn

from resnet50_recipe.recipe import Recipe

from ..data.file_names import without_path
from ..data.sources import load_train_and_validation
from ..evaluation.predictions import Predictions
from ..evaluation.probe import FeatureModel, LinearProbe
from ..files import replaced_folder
from ..hub.classifiers import Classifier
from ..hub.eval_results import in_terms_of_the_hub
from ..hub.markdown import code
from ..hub.model_folder import image_processor, save_model_and_processor
from ..modeling_resnet50 import ResNet50ForImageClassification
from .typed_options import Source


_CARD = """\
---
{{ card_data }}
---

# A linear probe

The network is that of {{ source }}, as it was. Its classifier is logistic regression on its features, fitted on
{{ train_images }} images of {{ dataset }} by `resnet50 evaluate --probe linear`.

Top-1 accuracy on {{ images }} images that it was not fitted on: {{ top1 }}, with its 95 % interval.

```python
from transformers import pipeline

classify = pipeline("image-classification", "path/to/this/folder", trust_remote_code=True)
```
"""


@dataclass(frozen=True)
class Fitting:
    """
    Where a probe comes from, for its card.

    Attributes:
        source, dataset: whose network, and the images, as the user calls them.
        train_images: how many it was fitted on.
        predictions: what it says of the others.
    """

    source: str
    dataset: str
    train_images: int
    predictions: Predictions


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


def save_probe(folder: Path, classifier: Classifier, probe: LinearProbe, fitting: Fitting) -> bool:
    """
    Write a model: the network, with a linear probe in the place of its last layer, and the classes of the data.

    Args:
        folder: made, or replaced.
        classifier: the network, and how its images were prepared.

    Returns:
        Whether there is such a model: it takes a network of ours, and training images of every class.
    """
    label_names = fitting.predictions.label_names
    if not isinstance(classifier.model, ResNet50ForImageClassification) or len(probe.classes) < len(label_names):
        return False
    model = copy.deepcopy(classifier.model)
    head = nn.Linear(probe.weight.shape[1], len(label_names))
    head.weight.data, head.bias.data = torch.from_numpy(probe.weight), torch.from_numpy(probe.bias)
    model.fc = head.to(model.fc.weight)  # in the network's precision, where it is
    model.config.pretrained_cfg = model.config.confidence_threshold = model.config.problem_type = None
    model.config.id2label = dict(enumerate(label_names))
    with replaced_folder(folder) as unfinished:
        save_model_and_processor(unfinished, model, image_processor(classifier.preprocessing))
        _card(fitting).save(unfinished / "README.md")
    return True


def _card(fitting: Fitting) -> ModelCard:
    """Without what a run's card has: there was no run."""
    from ..evaluation.statistics import accuracy_interval  # with scipy, for who has fitted one

    correct = fitting.predictions.logits.argmax(1) == fitting.predictions.labels
    low, high = accuracy_interval(correct.mean(), len(correct))
    dataset = in_terms_of_the_hub(fitting.dataset)
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-classification",
        license="apache-2.0",
        tags=["image-classification", "resnet", "resnet50", "pytorch"],
        metrics=["accuracy"],
        model_name="linear-probe",
        eval_results=[
            EvalResult(
                task_type="image-classification",
                **dataset,
                metric_type="accuracy",
                metric_name="top-1 accuracy",
                metric_value=round(float(correct.mean()), 6),
            )
        ],
    )
    return ModelCard.from_template(
        data,
        template_str=_CARD,
        source=code(without_path(fitting.source)),
        dataset=code(dataset["dataset_name"]),
        train_images=f"{fitting.train_images:,}",
        images=f"{len(correct):,}",
        top1=f"{correct.mean():.1%} ({low:.1%} – {high:.1%})",
    )
