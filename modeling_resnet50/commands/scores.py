"""What an evaluation says of a model: all that follows from its predictions. Imported when there are some."""

from typing import Any

from ..evaluation.class_report import class_report
from ..evaluation.metric_modules import compute_metric
from ..evaluation.predictions import Predictions
from ..evaluation.selective import coverage_table, tell_apart, threshold_for
from ..evaluation.statistics import compare, summarize
from .abstaining import Abstaining


def scores(
    own: Predictions,
    by_transformers: Predictions | None,
    foreign: Predictions | None,
    asked: Abstaining,
    metrics: dict[str, Any],
) -> dict[str, Any]:
    """
    What results.json says of a model, but for how it was asked.

    Args:
        own: of the images of the data set.
        by_transformers: of the same, as its image processor prepares them.
        foreign: of images of no class of the model's.
        metrics: modules of `evaluate`, by their names.
    """
    return {
        "by_transformers": by_transformers and {**summarize(by_transformers), **compare(own, by_transformers)},
        **summarize(own),
        **class_report(own),
        **_abstaining(own, foreign, asked),
        "metrics": {name: compute_metric(module, own) for name, module in metrics.items()},
    }


def comparisons(named: dict[str, Predictions]) -> list[dict[str, Any]]:
    """Of the first model with each other one."""
    first, *others = named
    return [{"first": first, "second": other, **compare(named[first], named[other])} for other in others]


def _abstaining(own: Predictions, foreign: Predictions | None, asked: Abstaining) -> dict[str, Any]:
    """What results.json says of it: `coverage`, `threshold`, `foreign`."""
    apart = None
    if foreign is not None and asked.foreign is not None:
        scores = tell_apart(own.logits, foreign.logits)
        apart = {"name": asked.foreign.resolve().name, "images": len(foreign.labels), "scores": scores}
    threshold = None if asked.wanted_precision is None else threshold_for(own, asked.wanted_precision)
    return {"coverage": coverage_table(own), "threshold": threshold, "foreign": apart}
