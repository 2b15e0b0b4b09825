"""The command line as typed values, made at a command's door: nothing behind it sees a Namespace."""

import argparse
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from resnet50_recipe.errors import UserError

from ..data.preprocessing import CropMode, ExifOrientation, Interpolation, Preprocessing, resized


Values = TypeVar("Values")


def typed(kind: type[Values], options: argparse.Namespace) -> Values:
    """A dataclass with the options of its fields' names; a field that is a dataclass itself, likewise."""
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # no type says that it is a dataclass
        nested: Any = field.type
        made = is_dataclass(nested)
        values[field.name] = typed(nested, options) if made else getattr(options, field.name)
    return kind(**values)


@dataclass(frozen=True)
class Source:
    """
    Images with labels.

    Attributes:
        dataset: an id on the Hub, a folder, or digits; None: none was asked for.
        dataset_config: of a data set with several configurations.
        split: None: the one for validation.
        image_column, label_column: None: the only one.
    """

    dataset: str | None
    dataset_config: str | None = None
    split: str | None = None
    image_column: str | None = None
    label_column: str | None = None


@dataclass(frozen=True)
class Loading:
    """
    How images are read, in each process.

    Raises:
        UserError: too few.
    """

    batch_size: int
    num_workers: int

    def __post_init__(self):
        if self.batch_size < 1 or self.num_workers < 0:
            raise UserError("--batch_size must be at least 1 and --num_workers at least 0")


@dataclass(frozen=True)
class Changes:
    """What is asked for in place of a model's own preparation of images; None: nothing."""

    image_size: int | None = None
    crop_ratio: float | None = None
    crop_mode: CropMode | None = None
    interpolation: Interpolation | None = None
    exif_orientation: ExifOrientation | None = None

    def __post_init__(self):
        if self.image_size is not None and self.image_size < 1:
            raise UserError("--image_size must be at least 1")
        if self.crop_ratio is not None and not 0 < self.crop_ratio <= 1:
            raise UserError("--crop_ratio must be above 0 and at most 1, as in 0.875 (224 of 256 pixels)")

    def applied_to(self, preprocessing: Preprocessing) -> Preprocessing:
        """Of a new size, the ratio stays as it was."""
        image_size = self.image_size or preprocessing.image_size
        if self.crop_ratio is None:
            resize_size = image_size * preprocessing.resize_size // preprocessing.image_size
        else:
            resize_size = resized(image_size, self.crop_ratio)
        given = {name: getattr(self, name) for name in ("crop_mode", "interpolation", "exif_orientation")}
        given = {name: value for name, value in given.items() if value is not None}
        return replace(preprocessing, resize_size=resize_size, image_size=image_size, **given)
