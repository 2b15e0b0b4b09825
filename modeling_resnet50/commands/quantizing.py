"""The part of `resnet50 export` that makes 8 bits of 32, and proves what that costs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from transformers import BitImageProcessor

from resnet50_recipe.errors import UserError

from ..data.class_names import names_of
from ..data.preprocessing import Preprocessing
from ..data.sampling import EvaluationSampler, class_balanced
from ..evaluation.predictions import Predictions
from ..evaluation.statistics import accuracy_interval, allowed_digits, compare
from ..hub.onnx import add_metadata
from ..hub.quantization import Int8Quantizer, predict_onnx
from ..modeling_resnet50 import ResNet50ForImageClassification
from .evaluation_data import class_map_of, load_split, make_loader
from .preparation import Preparation
from .typed_options import Loading, Source


CALIBRATION_IMAGES = 512  # enough for the ranges of activations to settle
PROBE_IMAGES = 32  # on which each layer's error is measured
MAX_DROP = 1.0  # points of top-1, unless --max_drop says otherwise


@dataclass(frozen=True)
class Quantization:
    """
    Attributes:
        model: what it is called, for errors. It chooses one class for an image.
        source: images to calibrate on, and to measure what it costs.
        max_drop: points of top-1 that it may cost.
    """

    model: str
    source: Source
    loading: Loading
    max_drop: float = MAX_DROP


def quantize(
    model: ResNet50ForImageClassification, processor: BitImageProcessor, folder: Path, wanted: Quantization
) -> dict[str, Any]:
    """
    Write `onnx/model_quantized.onnx`, calibrated on training images of all classes alike. Where it costs more top-1
    than --max_drop on the validation images, the layers that cost most stay in float: one, two, four, …

    Returns:
        `top1_float32`, `top1` (shares), `images` that they were counted on, `difference` (`value`, `low`, `high`: the
        paired interval of 95 %), `p_value` (McNemar), `calibrated_on`, `in_float` (names of layers), `layers` (how
        many there are); and all that in `words`, which the file's metadata has too.

    Raises:
        UserError: it costs more with half of the layers in float.
    """
    train, validation = load_split(wanted.source, "train"), load_split(wanted.source, wanted.source.split)
    preparation = Preparation(Preprocessing.from_processor(processor, wanted.model))
    chosen = class_balanced(np.asarray(train["label"][:]), CALIBRATION_IMAGES, seed=0)
    images = _calibration_images(train, chosen, preparation, wanted.loading)
    first = next(images)
    quantizer = Int8Quantizer(folder / "onnx" / "model.onnx", chain([first], images))
    judge = _judge(model, preparation, validation, wanted.loading)
    target = folder / "onnx" / "model_quantized.onnx"
    found, in_float = _within(quantizer, target, first[:PROBE_IMAGES], judge, wanted.max_drop)
    report = {**found, "images": len(validation), "calibrated_on": len(chosen)}
    report |= {"in_float": in_float, "layers": len(quantizer.layers)}
    report["words"] = _words(report, len(np.unique(np.asarray(train["label"][:])[chosen])), wanted.source.dataset)
    add_metadata(target, {"quantization": report["words"]})
    return report


def _within(
    quantizer: Int8Quantizer,
    target: Path,
    probe: np.ndarray,
    judge: Callable[[Path], dict[str, Any]],
    max_drop: float,
) -> tuple[dict[str, Any], list[str]]:
    count = 0
    worst: list[str] = []
    while True:
        quantizer.write(target, worst[:count])
        found = judge(target)
        drop = -100 * found["difference"]["value"]
        if drop <= max_drop + 1e-9:  # shares of images are not exact
            return found, worst[:count]
        more = max(1, 2 * count)
        if more > len(quantizer.layers) // 2:
            raise UserError(
                f"int8 costs {drop:.2f} points of top-1 with {count} of {len(quantizer.layers)} layers left in float, "
                f"and --max_drop is {max_drop:g}: nothing is written. Allow more, or go without --int8"
            )
        worst = worst or list(quantizer.errors(probe))
        count = more


def _judge(
    model: ResNet50ForImageClassification,
    preparation: Preparation,
    validation: datasets.Dataset,
    loading: Loading,
) -> Callable[[Path], dict[str, Any]]:
    """What a file does worse than the float32 file beside it, on the validation images."""
    label_names = names_of(model)
    class_map, _ = class_map_of(label_names, validation.features["label"].names, model.config.class_codes())
    known: dict[str, Predictions] = {}

    def predictions_of(path: Path) -> Predictions:
        sampler = EvaluationSampler(len(validation), loading.batch_size)
        loader = make_loader(validation, sampler, preparation, torch.device("cpu"), loading)
        batches = ((batch["pixel_values"].numpy(), class_map[batch["labels"]].numpy()) for batch in loader)
        return Predictions(*predict_onnx(path, batches), label_names)

    def judge(path: Path) -> dict[str, Any]:
        if "float32" not in known:
            known["float32"] = predictions_of(path.with_name("model.onnx"))
        before, after = known["float32"], predictions_of(path)
        compared = compare(before, after)
        shares = [float((p.logits.argmax(1) == p.labels).mean()) for p in (before, after)]
        return {
            "top1": shares[1],
            "top1_float32": shares[0],
            "difference": compared["top1_difference"],
            "p_value": compared["p_value"],
        }

    return judge


def _calibration_images(
    train: datasets.Dataset, chosen: np.ndarray, preparation: Preparation, loading: Loading
) -> Iterator[np.ndarray]:
    samples = [(0, int(index)) for index in chosen]
    parts = [samples[start : start + loading.batch_size] for start in range(0, len(samples), loading.batch_size)]
    for batch in make_loader(train, parts, preparation, torch.device("cpu"), loading):
        yield batch["pixel_values"].numpy().copy()


def _words(report: dict[str, Any], num_classes: int, dataset: str | None) -> str:
    difference = report["difference"]
    value, low, high = (100 * difference[name] for name in ("value", "low", "high"))
    interval = dict(zip(("low", "high"), accuracy_interval(report["top1"], report["images"])))
    digits = allowed_digits(interval, report["images"])
    kept = f"; {len(report['in_float'])} of {report['layers']} layers in float" if report["in_float"] else ""
    return (
        f"int8: top-1 {report['top1']:.{digits}%}, float32 {report['top1_float32']:.{digits}%}: {value:+.2f} points "
        f"({low:+.2f} to {high:+.2f}, p = {report['p_value']:.2g}) on {report['images']:,} images of {dataset}, "
        f"calibrated on {report['calibrated_on']:,} of {num_classes:,} classes{kept}"
    )
