"""How good a model's features are for other classes than its own, by a classifier that is fitted on them."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from resnet50_recipe.errors import UserError

from .predictions import Predictions


NEIGHBOURS, TEMPERATURE = 20, 0.07  # those of Wu et al. 2018, "Unsupervised Feature Learning", and DINO


class FeatureModel(nn.Module):
    """
    A classifier that answers with what its last linear layer gets, as `logits` `(batch, features)`: so the loop that
    evaluates models extracts features.

    Args:
        model: with `config.num_labels`.
        name: what the user calls it.

    Raises:
        UserError: it has no such layer.
    """

    def __init__(self, model: nn.Module, name: str):
        super().__init__()
        self.model = model
        num_labels = model.config.num_labels  # type: ignore[union-attr]
        heads = [each for each in model.modules() if isinstance(each, nn.Linear) and each.out_features == num_labels]
        if not heads:
            raise UserError(f"{name} has no linear classifier whose features could be probed")
        heads[-1].register_forward_pre_hook(self._keep)

    def _keep(self, head: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.features = inputs[0]

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        self.model(pixel_values=pixel_values)
        return SimpleNamespace(logits=self.features)


@dataclass(frozen=True)
class Probe:
    """
    A classifier that was fitted on features.

    Attributes:
        classes: int64 `(classes,)`, those that it has seen.
        probabilities: of these, `(images, classes)`, from features `(images, features)`.
    """

    classes: np.ndarray
    probabilities: Callable[[np.ndarray], np.ndarray]

    def predictions(self, asked: Predictions) -> Predictions:
        """
        What it says, as if it were a model: logarithms of probabilities of all classes of the labels.

        Args:
            asked: features, in the place of logits, and labels of the images to judge by.
        """
        shares = np.zeros((len(asked.labels), len(asked.label_names)))
        shares[:, self.classes] = self.probabilities(asked.logits)
        logits = np.log(np.maximum(shares, np.finfo(np.float32).tiny)).astype(np.float32)
        return Predictions(logits, asked.labels, asked.label_names)


@dataclass(frozen=True)
class LinearProbe(Probe):
    """
    Logistic regression as the last layer of a network.

    Attributes:
        weight, bias: float64 `(classes, features)` and `(classes,)`, for features as the network gives them.
    """

    weight: np.ndarray
    bias: np.ndarray


def fit_probe(kind: Literal["knn", "linear"], known: Predictions) -> Probe:
    """
    Args:
        known: features, in the place of logits, and labels of the training images.
    """
    return _linear(known) if kind == "linear" else _nearest_neighbours(known)


def _nearest_neighbours(known: Predictions) -> Probe:
    """The 20 nearest by cosine, each with the weight exp(cosine / 0.07)."""
    from sklearn.neighbors import KNeighborsClassifier

    neighbours = KNeighborsClassifier(
        min(NEIGHBOURS, len(known.labels)),
        metric="cosine",
        algorithm="brute",
        weights=lambda distances: np.exp(-distances / TEMPERATURE),
    ).fit(known.logits, known.labels)

    def probabilities(features: np.ndarray) -> np.ndarray:
        # As if one more neighbour were divided among all: what no neighbour is has a small probability, not none.
        shares = np.zeros((len(features), len(known.label_names)))
        shares[:, neighbours.classes_] = neighbours.predict_proba(features)
        return (NEIGHBOURS * shares + 1 / shares.shape[1]) / (NEIGHBOURS + 1)

    return Probe(np.arange(len(known.label_names)), probabilities)


def _linear(known: Predictions) -> LinearProbe:
    """Logistic regression on standardised features, with scikit-learn's penalty (C = 1)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaler, regression = StandardScaler(), LogisticRegression(max_iter=1000)
    fitted = make_pipeline(scaler, regression).fit(known.logits, known.labels)
    weight, bias = regression.coef_, regression.intercept_
    if len(weight) == 1:  # of two classes, it keeps the difference
        weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    weight = weight / scaler.scale_
    return LinearProbe(regression.classes_, fitted.predict_proba, weight, bias - weight @ scaler.mean_)
