"""How images are prepared for a network: one value, and what it is called by each of those who have to know it."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


Interpolation = Literal["bilinear", "bicubic"]  # always with antialiasing
ExifOrientation = Literal["apply", "ignore"]  # what to do about the tag that says how a camera was held
CropMode = Literal["center", "squash", "pad"]
_CHOICES = {"interpolation": Interpolation, "exif_orientation": ExifOrientation, "crop_mode": CropMode}

_PIL_NUMBERS = {"bilinear": 2, "bicubic": 3}  # which transformers uses
_TIMMS_CROP_MODES = {"center": "center", "squash": "squash", "pad": "border"}
_SIZES_IN_TRANSFORMERS = {
    "center": ("shortest_edge",),
    "squash": ("height", "width"),
    "pad": ("max_height", "max_width"),
}
# In what is exported. Who knows of the first alone misses it in the others, instead of doing something else unseen.
_SIZE_WHEN_EXPORTED = {"center": "resize_short_side", "squash": "resize_both_sides", "pad": "resize_long_side"}
_CONVNEXT_SQUASHES_FROM = 384  # pixels
_LARGEST = 2**14  # pixels: no network is asked about more, and of more, one image would fill the memory


def choices(name: str) -> tuple[str, ...]:
    """The values that `interpolation`, `exif_orientation` or `crop_mode` can have."""
    return get_args(_CHOICES[name])


@dataclass(frozen=True)
class Preprocessing:
    """
    From an image to what a network takes: resized, cropped to the central square, normalised.

    Attributes:
        resize_size: in pixels; of what, `crop_mode` says.
        image_size: side of the central square, in pixels.
        interpolation: the filter that resizes.
        image_mean, image_std: per channel, for pixels in [0, 1].
        exif_orientation: whether photos are turned upright as their EXIF data say.
        crop_mode: "center" resizes the short side, and what is beyond the square is lost. "squash" resizes both sides,
            and shapes change. "pad" resizes the long side, and margins of the mean colour fill the square. The last
            two show all of an image where `resize_size` is `image_size`.

    Raises:
        UserError: there is no such way.
    """

    resize_size: int
    image_size: int
    interpolation: Interpolation = "bilinear"
    image_mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    image_std: tuple[float, ...] = (0.229, 0.224, 0.225)
    exif_orientation: ExifOrientation = "apply"
    crop_mode: CropMode = "center"

    def __post_init__(self):
        for name in _CHOICES:
            if getattr(self, name) not in choices(name):
                raise UserError(f"{name} must be {' or '.join(choices(name))}, got {getattr(self, name)!r}")
        for name in ("resize_size", "image_size"):
            size = getattr(self, name)
            if not isinstance(size, int) or not 0 < size <= _LARGEST:
                raise UserError(f"{name} must be a whole number of pixels from 1 to {_LARGEST:,}, got {size!r}")
        for name in ("image_mean", "image_std"):
            numbers = tuple(getattr(self, name))
            if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
                raise UserError(f"{name} must be finite numbers, got {list(numbers)}")
            object.__setattr__(self, name, numbers)
        if not all(number > 0 for number in self.image_std):
            raise UserError(f"image_std must be above 0, got {list(self.image_std)}")

    @property
    def num_channels(self) -> int:
        """Of the images, as the network takes them."""
        return len(self.image_mean)

    @property
    def crop_ratio(self) -> float:
        """`image_size / resize_size`, or so little less that whoever rounds down comes to `resize_size` again."""
        ratio = self.image_size / self.resize_size
        rounds_down = resized(self.image_size, ratio) < self.resize_size
        return self.image_size / (self.resize_size + 0.5) if rounds_down else ratio

    @property
    def margin_colour(self) -> list[int]:
        """Around a padded image, 0 to 255: the mean, as timm rounds it."""
        return [round(255 * mean) for mean in self.image_mean]

    # A recipe, and arguments of functions

    @classmethod
    def by_ratio(cls, image_size: int, crop_ratio: float, *others: Any, **named: Any) -> "Preprocessing":
        """Of `image_size / resize_size` in place of `resize_size`, which is rounded down as by timm."""
        return cls(resized(image_size, crop_ratio), image_size, *others, **named)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "Preprocessing":
        """Of the images that a run is judged by, and that its models are asked about."""
        sizes = recipe.eval_image_size or recipe.image_size, recipe.eval_crop_ratio
        about = recipe.interpolation, recipe.image_mean, recipe.image_std, recipe.exif_orientation, recipe.crop_mode
        return cls.by_ratio(*sizes, *about)

    # transformers' image processors

    @classmethod
    def from_processor(cls, processor: Any, source: str) -> "Preprocessing":
        """
        What an image processor of transformers does.

        Args:
            source: for the error.

        Raises:
            UserError: something else than to resize, crop the central square and normalise.
        """
        try:
            crop_mode, resize_size, image_size = _sizes_of(processor)
            if abs(255 * processor.rescale_factor - 1) > 1e-6 or not processor.do_normalize:
                raise KeyError("pixels in [0, 1], normalised")
            for name in ("do_resize", "do_rescale"):
                if not getattr(processor, name, True):
                    raise KeyError(f"{name} is off")
            names = {number: name for name, number in _PIL_NUMBERS.items()}
            interpolation: Any = names.get(int(processor.resample))
            if interpolation is None:
                raise KeyError(f"bilinear or bicubic, as its resample is {int(processor.resample)}")
            about = interpolation, processor.image_mean, processor.image_std
            # Pipelines turn photos upright, whatever their processor says.
            orientation: Any = getattr(processor, "exif_orientation", "apply")
            return cls(resize_size, image_size, *about, orientation, crop_mode)
        except UserError as error:
            raise UserError(f"{source}: its image processor makes no sense: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{source}: its {type(processor).__name__} does not resize, crop the centre and normalise in a way "
                f"that this library knows; missing: {error}"
            ) from error

    def for_processor(self) -> dict[str, Any]:
        """
        The fields of a `BitImageProcessor` that does this, all of them, because that class's defaults are CLIP's.
        `exif_orientation` and `crop_mode` are ours, for whoever opens the file. It does all but to colour margins: it
        pads with black.
        """
        return {
            "do_convert_rgb": self.num_channels == 3,  # it knows no other conversion: others are given as such
            "do_resize": True,
            "size": dict.fromkeys(_SIZES_IN_TRANSFORMERS[self.crop_mode], self.resize_size),
            "resample": _PIL_NUMBERS[self.interpolation],
            "do_center_crop": True,
            "crop_size": {"height": self.image_size, "width": self.image_size},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.image_mean),
            "image_std": list(self.image_std),
            "exif_orientation": self.exif_orientation,
            "crop_mode": self.crop_mode,
        }

    # timm's pretrained_cfg

    @classmethod
    def from_timm(cls, cfg: dict[str, Any], source: str) -> "Preprocessing":
        """
        Of timm's settings, as `resolve_model_data_config` gives them. EXIF's orientation is ignored, as by timm.

        Raises:
            UserError: it resizes or crops in another way than ours.
        """
        modes = {timms: ours for ours, timms in _TIMMS_CROP_MODES.items()}
        mode, interpolation = cfg["crop_mode"], cfg["interpolation"]
        if mode not in modes or interpolation not in choices("interpolation"):
            raise UserError(
                f"{source} prepares its images by {mode} crop and {interpolation}: known are "
                f"{', '.join(_TIMMS_CROP_MODES.values())} crop and {' and '.join(choices('interpolation'))}"
            )
        _, height, width = cfg["input_size"]
        if height != width:
            raise UserError(f"{source} takes images of {height} × {width} pixels: here they are square")
        sizes = width, cfg["crop_pct"]
        return cls.by_ratio(*sizes, interpolation, cfg["mean"], cfg["std"], "ignore", modes[mode])

    def for_timm(self) -> dict[str, Any]:
        """The same in a `pretrained_cfg`."""
        return {
            "input_size": [self.num_channels, self.image_size, self.image_size],
            "mean": list(self.image_mean),
            "std": list(self.image_std),
            "interpolation": self.interpolation,
            "crop_pct": self.crop_ratio,
            "crop_mode": _TIMMS_CROP_MODES[self.crop_mode],
        }

    # Exported files, and results

    @classmethod
    def from_exported(cls, stated: dict[str, Any]) -> "Preprocessing":
        """
        Of what `exported` has made.

        Raises:
            KeyError: something is missing.
        """
        crop_mode = stated.get("crop_mode", "center")
        sizes = stated[_SIZE_WHEN_EXPORTED[crop_mode]], stated["crop_size"]
        about = stated["interpolation"], stated["mean"], stated["std"], stated.get("exif_orientation", "apply")
        return cls(*sizes, *about, crop_mode)

    def exported(self) -> dict[str, Any]:
        """In plain words and numbers, for the metadata of a file that has neither processor nor configuration."""
        return {
            _SIZE_WHEN_EXPORTED[self.crop_mode]: self.resize_size,
            "crop_size": self.image_size,
            "crop_mode": self.crop_mode,
            "interpolation": self.interpolation,
            "rescale_factor": 1 / 255,
            "mean": list(self.image_mean),
            "std": list(self.image_std),
            "exif_orientation": self.exif_orientation,
        }

    def as_result(self) -> dict[str, Any]:
        """As results.json states it."""
        names = ("resize_size", "image_size", "interpolation", "exif_orientation", "crop_mode")
        return {name: getattr(self, name) for name in names}


def resized(image_size: int, crop_ratio: float) -> int:
    """Pixels before a crop to `image_size`, rounded down as timm does: 224 at 0.875 gives 256."""
    return math.floor(image_size / crop_ratio)


def _sizes_of(processor: Any) -> tuple[CropMode, int, int]:
    """How a processor resizes, to which size, and what it crops. Raises: KeyError, what it lacks."""
    size = dict(processor.size)
    if "ConvNext" in type(processor).__name__:  # resizes to size / crop_pct and crops, or squashes
        side = size["shortest_edge"]
        if side >= _CONVNEXT_SQUASHES_FROM:
            return "squash", side, side
        return "center", resized(side, processor.crop_pct), side
    given = {name for name, value in size.items() if value is not None}
    crop_mode: Any = next((mode for mode, names in _SIZES_IN_TRANSFORMERS.items() if set(names) == given), None)
    if crop_mode is None or len({size[name] for name in given}) > 1:
        raise KeyError("a size for one side, or one for both")
    if crop_mode == "pad" and getattr(processor, "crop_mode", None) != "pad":
        raise KeyError("the colour of the margins")
    resize_size = size[_SIZES_IN_TRANSFORMERS[crop_mode][0]]
    if not getattr(processor, "do_center_crop", False):
        return crop_mode, resize_size, resize_size
    if processor.crop_size["width"] != processor.crop_size["height"]:
        raise KeyError("a square crop")
    return crop_mode, resize_size, processor.crop_size["height"]
