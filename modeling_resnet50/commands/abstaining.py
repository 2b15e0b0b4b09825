"""Beside an evaluation: from which confidence on a model should answer, and what it makes of foreign images."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets

from resnet50_recipe.errors import UserError

from ..data.file_names import path_as_text
from ..data.image_files import FORMATS_IN_WORDS, find_images
from ..evaluation.predictions import Predictions
from ..evaluation.selective import coverage_table, tell_apart, threshold_for
from ..files import replaced_file
from ..hub.classifiers import Classifier
from ..hub.exporting import trained_model_in
from ..hub.model_folder import load_model, renew_card
from ..training.run_folder import is_run


def check_abstaining(options: argparse.Namespace) -> None:
    """
    Raises:
        UserError: `wanted_precision` is no share, `foreign` holds no images, or the model's own are not given.
    """
    if options.dataset is None and (options.wanted_precision is not None or options.foreign is not None):
        raise UserError("--wanted_precision and --foreign need --dataset, images of the model's own classes")
    if options.wanted_precision is not None and not 0 < options.wanted_precision <= 1:
        raise UserError(f"--wanted_precision must be above 0 and at most 1, got {options.wanted_precision}")
    if options.foreign is not None and not (options.foreign.is_dir() and find_images(options.foreign).paths):
        raise UserError(f"--foreign {options.foreign}: no images there ({FORMATS_IN_WORDS})")


def foreign_images(folder: Path, classifier: Classifier) -> datasets.Dataset:
    """The images of a folder and those below it as a data set for a model: it needs a label, which nobody looks at."""
    counts = Counter(classifier.label_names)
    some_class = next(name for name in classifier.label_names if counts[name] == 1)
    label = datasets.ClassLabel(names=[some_class])
    paths = [path_as_text(path) for path in find_images(folder).paths]
    features = datasets.Features({"image": datasets.Image(decode=False), "label": label})
    return datasets.Dataset.from_dict({"image": paths, "label": [0] * len(paths)}, features=features)


def abstaining(own: Predictions, foreign: Predictions | None, options: argparse.Namespace) -> dict[str, Any]:
    """What results.json says of it: `coverage`, `threshold`, `foreign`."""
    wanted, apart = options.wanted_precision, None
    if foreign is not None:
        scores = tell_apart(own.logits, foreign.logits)
        apart = {"name": options.foreign.resolve().name, "images": len(foreign.labels), "scores": scores}
    threshold = None if wanted is None else threshold_for(own, wanted)
    return {"coverage": coverage_table(own), "threshold": threshold, "foreign": apart}


def keep_threshold(folder: Path, result: dict[str, Any], dataset_name: str) -> bool:
    """
    Write the threshold into a model's config.json, from which it travels wherever the model goes, and tell its card.

    Args:
        folder: of a model of this library.
        result: `threshold` of its results.
        dataset_name: of the images that it was found on; of a path, the last name is told.

    Returns:
        Whether there is such a folder.
    """
    config_file = folder / "config.json"
    if not config_file.is_file():
        return False
    config = json.loads(config_file.read_text(encoding="utf-8"))
    if config.get("model_type") != "resnet50":
        return False
    data = Path(dataset_name).expanduser()
    shown = data.resolve().name if data.exists() else dataset_name
    config["confidence_threshold"] = {**result, "dataset": shown}
    with replaced_file(config_file) as unfinished:
        unfinished.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    folder = folder.resolve()
    if is_run(folder.parent) and (folder / "README.md").is_file():
        trained = trained_model_in(folder, folder.parent)
        assert trained is not None
        renew_card(folder, load_model(str(folder))[0], trained)
    return True
