"""Further metrics by name: any module of `evaluate` that judges one class an image."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import evaluate
import torch
from datasets import Value

from resnet50_recipe.errors import UserError, did_you_mean

from .predictions import Predictions
from .statistics import log_probabilities, top_classes


_OURS = Path(__file__).parent / "metrics"
_Metric = TypeVar("_Metric", bound=evaluate.EvaluationModule)


def in_memory(kind: type[_Metric]) -> _Metric:
    """
    A metric that writes nothing. `evaluate` makes its folder in the cache all the same: where that cannot be done, a
    run must not end after its first epoch.
    """
    try:
        return kind(keep_in_memory=True)
    except OSError:
        return kind(keep_in_memory=True, cache_dir=_another_cache().name)


@lru_cache(maxsize=1)
def _another_cache() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="metrics-")


def load_metric(name: str) -> evaluate.EvaluationModule:
    """
    A metric that comes with this package, in a folder, or on the Hub, whose code is then fetched and run.

    Raises:
        UserError: there is none of this name.
    """
    ours = sorted(path.parent.name for path in _OURS.glob("*/README.md"))
    try:
        return evaluate.load(str(_OURS / name) if name in ours else name, keep_in_memory=True)
    except (OSError, ImportError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"unknown metric {name!r}{did_you_mean(name, ours)}. There are {', '.join(ours)}; `evaluate`'s own on the "
            "Hub, such as accuracy, while there is a connection; and folders"
        ) from error


def compute_metric(metric: evaluate.EvaluationModule, predictions: Predictions) -> dict[str, float]:
    """
    Give a metric what it takes: the most likely class of each image, or several where it wants a list, and
    probabilities, of the likeliest class or of all.

    Raises:
        UserError: it takes something else.
    """
    features = metric.features[0] if isinstance(metric.features, list) else metric.features
    ranked = top_classes(predictions)
    log_probability, confidence = log_probabilities(predictions)
    inputs = {
        "predictions": ranked[:, 0] if isinstance(features.get("predictions"), Value) else ranked,
        "references": predictions.labels,
        "log_probabilities": log_probability,
        "confidences": confidence,
    }
    if "prediction_scores" in features:
        inputs["prediction_scores"] = torch.from_numpy(predictions.logits).double().softmax(1).numpy()
    try:
        return metric.compute(**{name: inputs[name] for name in features})
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"the metric {metric.name} cannot judge classes of images: {error}".splitlines()[0]) from error
