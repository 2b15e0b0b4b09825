"""Beside an evaluation: from which confidence on a model should answer, and what it makes of foreign images."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from transformers import AutoImageProcessor

from resnet50_recipe.errors import UserError

from ..data.file_names import path_as_text, without_path
from ..data.image_files import FORMATS_IN_WORDS, find_images
from ..data.preprocessing import Preprocessing
from ..files import replaced_file
from ..hub.exporting import is_in_training, renew_card_of_run


@dataclass(frozen=True)
class Abstaining:
    """
    What is asked for.

    Attributes:
        wanted_precision: a share; None: no threshold is looked for.
        foreign: a folder of images of no class of the model's.

    Raises:
        UserError: no share, or no images.
    """

    wanted_precision: float | None
    foreign: Path | None

    def __post_init__(self):
        if self.wanted_precision is not None and not 0 < self.wanted_precision <= 1:
            raise UserError(f"--wanted_precision must be above 0 and at most 1, got {self.wanted_precision}")
        if self.foreign is not None and not (self.foreign.is_dir() and find_images(self.foreign).paths):
            raise UserError(f"--foreign {self.foreign}: no images there ({FORMATS_IN_WORDS})")

    @property
    def is_wanted(self) -> bool:
        """Whether anything is."""
        return self.wanted_precision is not None or self.foreign is not None


def foreign_images(folder: Path, label_names: list[str]) -> datasets.Dataset:
    """The images of a folder and those below it as a data set for a model: it needs a label, which nobody looks at."""
    counts = Counter(label_names)
    label = datasets.ClassLabel(names=[next(name for name in label_names if counts[name] == 1)])
    paths = [path_as_text(path) for path in find_images(folder).paths]
    features = datasets.Features({"image": datasets.Image(decode=False), "label": label})
    return datasets.Dataset.from_dict({"image": paths, "label": [0] * len(paths)}, features=features)


def keep_threshold(folder: Path, result: dict[str, Any], dataset_name: str) -> bool:
    """
    Write the threshold into a model's config.json, from which it travels wherever the model goes, and tell its card.

    Args:
        folder: of a model of this library.
        result: one of `models` of a results.json.
        dataset_name: of the images that it was found on; of a path, the last name is told.

    Returns:
        Whether there is such a folder, it prepares images as they were here, and no training replaces it.
    """
    config_file = folder / "config.json"
    if not config_file.is_file() or is_in_training(folder):
        return False
    config = json.loads(config_file.read_text(encoding="utf-8"))
    if config.get("model_type") != "resnet50" or result["protocol"]["flip"]:
        return False
    saved = Preprocessing.from_processor(AutoImageProcessor.from_pretrained(folder), str(folder)).as_result()
    if any(result["protocol"][name] != value for name, value in saved.items()):
        return False
    config["confidence_threshold"] = {**result["threshold"], "dataset": without_path(dataset_name)}
    with replaced_file(config_file) as unfinished:
        unfinished.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    renew_card_of_run(folder)
    return True
