"""What the numbers of an evaluation are worth: intervals, calibration, confusions, comparisons. Pure functions."""

import math
from typing import Any

import numpy as np
import torch
from scipy import optimize, stats

from resnet50_recipe.words import says_something

from .metrics.expected_calibration_error.expected_calibration_error import calibration_error, reliability_bins
from .predictions import Predictions, ranked


NUM_RESAMPLES = 1000
CONFIDENCE_LEVEL = 0.95
NUM_CONFUSIONS = 20
TEMPERATURES = (0.05, 20.0)  # that are looked at
_NUMBERS_AT_ONCE = 2**22  # in memory while resampling


def summarize(predictions: Predictions, seed: int = 0) -> dict[str, Any]:
    """
    All there is to say about one model.

    Args:
        predictions: at least one image.
        seed: of the resampling.

    Returns:
        - `images`: how many.
        - `top1`, `top5` (shares), `loss` (nats): each `{"value", "low", "high"}`, see `bootstrap_intervals`, or for a
          share of 0 or 1 `accuracy_interval`.
        - `ece`: expected calibration error, in 15 bins; `reliability`: these bins, see `reliability_bins`.
        - `temperature`: see `fit_temperature`; `loss_at_temperature`, `ece_at_temperature`: on the same images.
        - `classes`: for each class with images, `{"label", "name", "images", "correct", "top1"}`.
        - `confusions`: the most frequent mistakes, `{"label", "name", "predicted_label", "predicted_name", "images",
          "share"}`, share being of the images of the true class.
    """
    ranked, labels = top_classes(predictions), predictions.labels
    hits = ranked == labels[:, None]
    correct = hits[:, 0]
    log_probability, confidence = log_probabilities(predictions)
    top1, top5, loss = bootstrap_intervals(np.stack([correct, hits.any(axis=1), -log_probability]), seed)
    if says_something(5, predictions.logits.shape[1]):
        top5 = _of_share(top5, len(labels))
    temperature = fit_temperature(predictions)
    cooled_log_probability, cooled_confidence = log_probabilities(predictions, temperature)
    reliability = reliability_bins(confidence, correct)
    return {
        "images": len(labels),
        "top1": _of_share(top1, len(labels)),
        "top5": top5,
        "loss": loss,
        "ece": calibration_error(reliability),
        "temperature": temperature,
        "loss_at_temperature": float(-cooled_log_probability.mean()),
        "ece_at_temperature": calibration_error(reliability_bins(cooled_confidence, correct)),
        "reliability": reliability,
        "classes": class_accuracies(labels, correct, predictions.label_names),
        "confusions": confusions(labels, ranked[:, 0], predictions.label_names),
    }


def compare(first: Predictions, second: Predictions, seed: int = 0) -> dict[str, Any]:
    """
    Whether the second model is better than the first, on the same images in the same order.

    Returns:
        - `top1_difference`: second minus first, `{"value", "low", "high"}`: the interval is of the paired bootstrap,
          in which both are resampled alike.
        - `only_first`, `only_second`: images that one of them alone gets right.
        - `p_value`: McNemar's exact test (McNemar 1947), two-sided: how likely so unequal a split of those images is
          if both models are equally good.
    """
    one, other = (top_classes(p, 1)[:, 0] == p.labels for p in (first, second))
    only_first, only_second = int((one & ~other).sum()), int((other & ~one).sum())
    disagreements = only_first + only_second
    return {
        "top1_difference": bootstrap_intervals((other.astype(float) - one)[None], seed)[0],
        "only_first": only_first,
        "only_second": only_second,
        "p_value": float(stats.binomtest(only_second, disagreements).pvalue) if disagreements else 1.0,
    }


def top_classes(predictions: Predictions, k: int = 5) -> np.ndarray:
    """The `k` most likely classes of each image, or all there are, the most likely first: int64 `(images, k)`."""
    return ranked(torch.from_numpy(predictions.logits), k).numpy()


def log_probabilities(predictions: Predictions, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """
    Log-probability of each image's true class, in nats, and probability of its most likely class: float64 `(images,)`.

    Args:
        temperature: divides the logits.
    """
    logits = torch.from_numpy(predictions.logits)
    normalizers = _normalizers(logits, temperature)
    of_truth = logits.gather(1, torch.from_numpy(predictions.labels)[:, None])[:, 0] / temperature - normalizers
    confidence = (logits.amax(1) / temperature - normalizers).double().exp()
    return of_truth.double().numpy(), confidence.numpy()


def bootstrap_intervals(values: np.ndarray, seed: int = 0) -> list[dict[str, float]]:
    """
    Means over images, with 95 % intervals of the percentile bootstrap (Efron 1979): 1000 resamples of the images.

    Args:
        values: float `(numbers, images)`.
        seed: the same numbers for the same seed.

    Returns:
        For each row `{"value", "low", "high"}`. A single image has no interval: its ends are NaN.
    """
    values = np.asarray(values, dtype=float)
    means = values.mean(axis=1)
    low = high = np.full(len(values), math.nan)
    if values.shape[1] > 1:
        result = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=NUM_RESAMPLES,
            batch=max(1, _NUMBERS_AT_ONCE // values.size),
            axis=1,
            confidence_level=CONFIDENCE_LEVEL,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
        low, high = result.confidence_interval
    return [
        {"value": float(mean), "low": float(a), "high": float(b)} for mean, a, b in zip(means, low, high, strict=True)
    ]


def accuracy_interval(accuracy: float, num_images: int) -> tuple[float, float]:
    """
    The 95 % confidence interval of a share that was counted, after Wilson (1927): what another draw of so many images
    could have given. It knows nothing of other seeds, nor of a choice among several models.
    """
    counted = stats.binomtest(round(accuracy * num_images), num_images)
    interval = counted.proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def _of_share(interval: dict[str, float], images: int) -> dict[str, float]:
    """Where all or none count, resampling finds an interval without width, and Wilson's stands instead."""
    if images == 1 or 0 < interval["value"] < 1:
        return interval
    low, high = accuracy_interval(interval["value"], images)
    return {**interval, "low": low, "high": high}


def allowed_digits(interval: dict[str, float], images: int) -> int:
    """
    How many digits of a percentage behind the point say anything: as far as the first one of its uncertainty, which is
    half its 95 % interval, or one further where that begins with 1 or 2.

    Args:
        interval: of a share, as `bootstrap_intervals` gives it.
        images: the share is one of so many. Where all or none of them count, resampling knows no uncertainty, but
            another image could be the first: by the rule of three, the interval reaches `3 / images` (Hanley and
            Lippman-Hand 1983).
    """
    half = 0.0 if images == 1 else (interval["high"] - interval["low"]) / 2
    uncertainty = 100 * max(half, 1.5 / images)
    place = math.floor(math.log10(uncertainty))
    return max(0, -place + (uncertainty < 3 * 10**place))


def fit_temperature(predictions: Predictions) -> float:
    """
    The number to divide the logits by for the smallest loss on these images (Guo et al. 2017), between 0.05 and 20. It
    is one of these two where there is none: if all answers are right, the smaller the better.

    It mends calibration and changes no prediction. As it is one number, it fits other images of the kind as well.
    """
    logits = torch.from_numpy(predictions.logits)
    if (top_classes(predictions, 1)[:, 0] == predictions.labels).all():
        return TEMPERATURES[0]
    truth = logits.gather(1, torch.from_numpy(predictions.labels)[:, None])[:, 0].double().mean().item()

    def loss(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        return _normalizers(logits, temperature).double().mean().item() - truth / temperature

    bounds = [math.log(temperature) for temperature in TEMPERATURES]
    found = optimize.minimize_scalar(loss, bounds=bounds, options={"xatol": 1e-3}).x  # never a bound itself
    return TEMPERATURES[1] if loss(bounds[1]) < loss(found) else math.exp(found)


def class_accuracies(labels: np.ndarray, correct: np.ndarray, label_names: list[str]) -> list[dict[str, Any]]:
    """See `summarize`."""
    images = np.bincount(labels, minlength=len(label_names))
    hits = np.bincount(labels[correct], minlength=len(label_names))
    return [
        {"label": int(c), "name": label_names[c], "images": int(images[c]), "correct": int(hits[c]),
         "top1": float(hits[c] / images[c])}
        for c in np.flatnonzero(images)
    ]  # fmt: skip


def confusions(labels: np.ndarray, predicted: np.ndarray, label_names: list[str]) -> list[dict[str, Any]]:
    """See `summarize`."""
    wrong = labels != predicted
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]]), axis=1, return_counts=True)
    images = np.bincount(labels)
    worst = np.argsort(-counts, kind="stable")[:NUM_CONFUSIONS]
    return [
        {
            "label": int(true),
            "name": label_names[true],
            "predicted_label": int(other),
            "predicted_name": label_names[other],
            "images": int(count),
            "share": float(count / images[true]),
        }
        for (true, other), count in zip(pairs[:, worst].T, counts[worst])
    ]


def _normalizers(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Logarithm of the sum of exponentials of each row, in parts that fit the processor's caches."""
    return torch.cat([(part / temperature).logsumexp(1) for part in logits.split(256)])
