"""How good a model's features are for other classes than its own, by a classifier that is fitted on them."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

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


def probe(kind: str, known: Predictions, asked: Predictions) -> Predictions:
    """
    What a classifier says that was fitted on features, as if it were a model.

    Args:
        kind: of `PROBES`.
        known, asked: features, in the place of logits, and labels of training images and of those to judge by.

    Returns:
        Logarithms of probabilities of the labels' classes.
    """
    seen, probabilities = PROBES[kind](known.logits, known.labels, asked.logits)
    all_classes = np.zeros((len(asked.labels), len(asked.label_names)))
    all_classes[:, seen] = probabilities
    # As if one more neighbour were divided among all classes: what no neighbour is has a small probability, not none.
    smoothed = (
        (NEIGHBOURS * all_classes + 1 / all_classes.shape[1]) / (NEIGHBOURS + 1) if kind == "knn" else all_classes
    )
    logits = np.log(np.maximum(smoothed, np.finfo(np.float32).tiny)).astype(np.float32)
    return Predictions(logits, asked.labels, asked.label_names)


def _nearest_neighbours(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 20 nearest by cosine, each with the weight exp(cosine / 0.07)."""
    from sklearn.neighbors import KNeighborsClassifier

    neighbours = KNeighborsClassifier(
        min(NEIGHBOURS, len(known)),
        metric="cosine",
        algorithm="brute",
        weights=lambda distances: np.exp(-distances / TEMPERATURE),
    ).fit(known, labels)
    return neighbours.classes_, neighbours.predict_proba(asked)


def _linear(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression on standardised features, with scikit-learn's penalty (C = 1)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(known, labels)
    return fitted.classes_, fitted.predict_proba(asked)


PROBES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "knn": _nearest_neighbours,
    "linear": _linear,
}
