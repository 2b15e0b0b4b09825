"""Pictures that a page offers to be tried."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from transformers.utils import cached_file

from resnet50_recipe.errors import UserError

from ...data.decoding import UNREADABLE, decode_image, encoded_bytes
from ...data.image_files import FORMATS_IN_WORDS, find_images
from ...data.sources import load_evaluation_split
from ..model_card import RECIPE_FILE


MOST_EXAMPLES = 12
_LONGEST_SIDE = 512  # pixels


def folder_examples(folder: Path) -> list[Image.Image]:
    """
    Up to `MOST_EXAMPLES` pictures from a folder and those below it, evenly spread.

    Raises:
        UserError: there are none, or one is damaged.
    """
    paths = [Path(path) for path in find_images(folder).paths]
    if not paths:
        raise UserError(f"--examples {folder}: no images there ({FORMATS_IN_WORDS})")
    try:
        return [_decode((path := paths[index]).read_bytes()) for index in _spread(len(paths))]
    except UNREADABLE as error:
        raise UserError(f"--examples {folder}: {path} cannot be read: {error}") from error


def own_examples(model: str, public: bool) -> list[Image.Image]:
    """
    What the model brings along: the pictures in its folder `examples`, or else one validation image for each of some
    classes, where its recipe says which data set.

    Args:
        model: a folder, or an id on the Hub.
        public: only what may be shown to everybody: of data sets, the embedded digits. Otherwise, also a data set
            that lies on this disk.
    """
    folder = Path(model).expanduser()
    if (folder / "examples").is_dir():
        return folder_examples(folder / "examples")
    recipe_file: Path | str | None = folder.parent / RECIPE_FILE  # a run's, with paths in full, next to its models
    if not (folder.parent / RECIPE_FILE).is_file():
        recipe_file = cached_file(model, RECIPE_FILE, _raise_exceptions_for_missing_entries=False)
    if recipe_file is None:
        return []
    recipe = yaml.safe_load(Path(recipe_file).read_text(encoding="utf-8"))
    name = recipe["dataset_name"]
    if not (name == "digits" or (not public and Path(name).is_absolute() and Path(name).exists())):
        return []
    columns = (recipe["dataset_config_name"], recipe["image_column_name"], recipe["label_column_name"])
    split, held_out = recipe["validation_split_name"], None
    if recipe.get("train_val_split") is not None:
        split, held_out = recipe["train_split_name"], (recipe["train_val_split"], recipe["seed"])
    dataset = load_evaluation_split(name, split, *columns, train_val_split=held_out)
    _, first_rows = np.unique(dataset["label"][:], return_index=True)
    return [_decode(encoded_bytes(dataset[int(row)]["image"])) for row in first_rows[list(_spread(len(first_rows)))]]


def save_examples(pictures: list[Image.Image], folder: Path) -> list[Path]:
    """Write pictures anew, so that no place or camera is told: small ones without loss. Returns their paths."""
    folder.mkdir(parents=True)
    paths = []
    for number, picture in enumerate(pictures):
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        paths.append(folder / f"{number:02d}{'.png' if max(picture.size) <= 96 else '.jpg'}")
        picture.save(paths[-1], quality=90)
    return paths


def _decode(content: bytes) -> Image.Image:
    return Image.fromarray(decode_image(content).permute(1, 2, 0).numpy())


def _spread(count: int) -> range | list[int]:
    """Up to `MOST_EXAMPLES` of so many positions."""
    return range(count) if count <= MOST_EXAMPLES else [i * count // MOST_EXAMPLES for i in range(MOST_EXAMPLES)]
