"""
results.json: an evaluation, to be read by programs.

    dataset       name, config, split (null: not said), images, classes (number); null if only suites were asked for
    precision     "no" (float32), "bf16" or "fp16"
    processes     number
    models        for each model, by the name it was given:
        protocol              resize_size and image_size (pixels), interpolation, exif_orientation, crop_mode (center:
                              resize_size is of the short side; squash: of both; pad: of the long side), flip (mirror
                              images averaged), dtype (of the weights: float32, float16, …; null for ONNX files),
                              library (whose pixels: timm or transformers)
        probe                 with --probe knn or linear: the numbers are those of this classifier on its features
        num_labels            classes that it tells apart
        by_transformers       with --protocol both, these numbers by transformers' image processor, and as in
                              `comparisons` how they differ; else null
        images_per_second     over all processes, from file to logits
        top1, top5, loss      {value, low, high}: shares, nats, 95 % intervals of the bootstrap over images; Wilson's
                              for a share of 0 or 1
        ece                   expected calibration error, 15 bins
        temperature           divides the logits for the smallest loss; loss_at_temperature, ece_at_temperature
        reliability           15 × {low, high, images, confidence, accuracy}
        macro_precision, macro_recall, macro_f1, weighted_precision, …
                              means over the classes that occur as true ones or as answers; weighted: by images
        balanced_accuracy     mean recall of the classes with images; cohen_kappa
        roc_auc, average_precision
                              areas under the curves of each class against the rest, mean over the classes with images;
                              weighted_roc_auc, weighted_average_precision: by images
        classes               for each class with images {label, name, images, correct, top1, precision, recall, f1,
                              roc_auc, average_precision}; top1 is its recall
        curves                {label, name, tpr, precision} × 101 points: at the false positive rates 0, 0.01, …, 1, or
                              recalls; first the mean of the classes (label null), then each of up to 20
        coverage              20 × {coverage, threshold, images, accuracy}: all images of at least that confidence
        confusions            up to 20 × {label, name, predicted_label, predicted_name, images, share}, share being of
                              the true class's images
        threshold             with --wanted_precision {wanted_precision, threshold, coverage, images, precision, low,
                              high}: the answers of at least that confidence; null if none is high enough
        foreign               with --foreign {name, images, scores}: for max_softmax (its logarithm), max_logit and
                              energy {auroc, fpr95, threshold}; the threshold lets pass 95 % of the model's own images
        metrics               what --metrics asked for, by name
        suites                for each of the ImageNet family that is there, its scores: top1, top5, images; by part
                              where it has several; mce and, for each corruption, ce, error, errors; see `suites`
    comparisons   the first model with each other one: {first, second, top1_difference: {value, low, high} (second
                  minus first, paired bootstrap), only_first, only_second (images that one alone gets right), p_value
                  (McNemar's exact test)}
    suites_absent for each of the family that is not there, or not whole, how to get it
    versions      of this package, torch, timm, transformers

Numbers that do not exist, such as the interval of a single image, are null.
"""

import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

from resnet50_recipe.terminal import ACTS

from .. import __version__
from ..files import replaced_file


def versions() -> dict[str, str]:
    """Of the packages that decide the numbers."""
    libraries = {name: version(name) for name in ("torch", "timm", "transformers")}
    return {"modeling-resnet50": __version__, **libraries}


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write results.json, laid out as above."""
    with replaced_file(path) as file:
        file.write_text(to_json(results, indent=1) + "\n", encoding="utf-8")


def to_json(value: Any, indent: int | None = None) -> str:
    """As strict JSON, which has no NaN."""
    text = json.dumps(_without_nan(value), indent=indent, ensure_ascii=False, allow_nan=False)
    # Of what a terminal would act on, JSON itself escapes a part only.
    lines = (ACTS.sub(lambda found: f"\\u{ord(found[0]):04x}", line) for line in text.split("\n"))
    return "\n".join(lines)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
