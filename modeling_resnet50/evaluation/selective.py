"""When a model had better say nothing: answers by confidence, and images of none of its classes. Pure functions."""

from typing import Any

import numpy as np
import torch
from scipy import stats

from .metrics.one_vs_rest_auc.one_vs_rest_auc import Ranking
from .predictions import Predictions
from .statistics import CONFIDENCE_LEVEL, log_probabilities, top_classes


COVERAGES = [number / 20 for number in range(1, 21)]
_TRUE_POSITIVE_RATE = 0.95  # at which FPR95 is told


def coverage_table(predictions: Predictions) -> list[dict[str, Any]]:
    """
    How right the most confident answers are (El-Yaniv and Wiener 2010, "selective classification").

    Returns:
        For coverages of 5 % to 100 %: `{"coverage", "threshold", "images", "accuracy"}`: all images whose confidence
        is at least the threshold, which are at least so many; equal confidences are taken together.
    """
    ranking, answered = _by_confidence(predictions)
    places = np.searchsorted(answered, [np.ceil(coverage * answered[-1] - 1e-9) for coverage in COVERAGES])
    return [
        {
            "coverage": float(answered[place] / answered[-1]),
            "threshold": float(ranking.thresholds[place]),
            "images": int(answered[place]),
            "accuracy": float(ranking.precision[place]),
        }
        for place in places
    ]


def threshold_for(predictions: Predictions, wanted_precision: float) -> dict[str, Any]:
    """
    The lowest confidence from which on all answers together are as often right as wanted.

    Returns:
        `wanted_precision`; `threshold`, between two images' confidences, 0 if all may be answered; `coverage`,
        `images` and `precision` of the answers above it, and `low` and `high`, the 95 % interval of the precision
        (Wilson 1927). All but the first are None if no threshold gives so much.
    """
    ranking, answered = _by_confidence(predictions)
    places = np.flatnonzero(ranking.precision >= wanted_precision)
    if not len(places):
        unknown = ("threshold", "coverage", "images", "precision", "low", "high")
        return {"wanted_precision": wanted_precision, **dict.fromkeys(unknown)}
    place = places[-1]
    # Between two, as the same image has not the very same confidence on another device.
    threshold = 0.0 if place == len(answered) - 1 else float(ranking.thresholds[place : place + 2].mean())
    test = stats.binomtest(int(ranking.hits[place]), int(answered[place]))
    low, high = test.proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    return {
        "wanted_precision": wanted_precision,
        "threshold": threshold,
        "coverage": float(answered[place] / answered[-1]),
        "images": int(answered[place]),
        "precision": float(ranking.precision[place]),
        "low": float(low),
        "high": float(high),
    }


def _by_confidence(predictions: Predictions) -> tuple[Ranking, np.ndarray]:
    """Right and wrong answers from the most confident one on; and how many these are, up to each threshold."""
    _, confidence = log_probabilities(predictions)
    ranking = Ranking.of(confidence, top_classes(predictions, 1)[:, 0] == predictions.labels)
    return ranking, ranking.hits + ranking.misses


def familiarity(logits: np.ndarray) -> dict[str, np.ndarray]:
    """
    Scores that are higher for images of the model's classes than for others, one might hope: `max_softmax`, its
    logarithm (Hendrycks and Gimpel 2017); `max_logit` (Hendrycks et al. 2022); `energy`, the logarithm of the sum of
    the logits' exponentials (Liu et al. 2020, who call its negative the energy).

    Args:
        logits: `(images, num_labels)`.
    """
    values = torch.from_numpy(logits).double()
    highest, energy = values.amax(1), values.logsumexp(1)
    scores = {"max_softmax": highest - energy, "max_logit": highest, "energy": energy}
    return {name: score.numpy() for name, score in scores.items()}


def tell_apart(own: np.ndarray, foreign: np.ndarray) -> dict[str, dict[str, float]]:
    """
    How well each score tells a model's own images from foreign ones.

    Args:
        own, foreign: logits `(images, num_labels)` of images of its classes, and of others.

    Returns:
        For each of `familiarity`: `auroc`, with its own images as positives; `fpr95`: the share of foreign images that
        is taken for its own where at least 95 % of these are; `threshold`: of the score, there.
    """
    is_own = np.arange(len(own) + len(foreign)) < len(own)
    results = {}
    for name, score in familiarity(np.concatenate([own, foreign])).items():
        ranking = Ranking.of(score, is_own)
        place = int(np.argmax(ranking.recall >= _TRUE_POSITIVE_RATE))
        results[name] = {
            "auroc": ranking.roc_auc(),
            "fpr95": float(ranking.false_positive_rate[place]),
            "threshold": float(ranking.thresholds[place]),
        }
    return results
