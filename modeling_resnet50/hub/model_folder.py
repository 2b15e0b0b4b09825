"""Write and read a model's folder: weights, config, code, image processor, card."""

import json
import math
import shutil
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    BitImageProcessor,
    PreTrainedModel,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from resnet50_recipe.errors import UserError, in_one_line

from ..configuration_resnet50 import ResNet50Config
from ..data.transforms import EXIF_ORIENTATIONS, ExifOrientation, evaluation_resize_size
from ..files import replaced_folder
from ..training.curves import draw_training_curves
from ..training.trained_model import TrainedModel
from .model_card import CURVES_FILE, METRICS_FILE, RECIPE_FILE, eval_results, model_card
from .shapes import check_sizes


INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # by PIL's numbers, which transformers uses
PIL_NUMBERS = {name: number for number, name in INTERPOLATIONS.items()}

_BOTH_PROTOCOLS_FILE = "both_protocols.json"


def image_processor(
    image_size: int,
    crop_ratio: float,
    interpolation: str,
    image_mean: list[float],
    image_std: list[float],
    exif_orientation: ExifOrientation = "apply",
) -> BitImageProcessor:
    """
    transformers' own processor, set to the usual evaluation: resize the short side, crop the centre, normalise.

    Every value is given, because this class's defaults are CLIP's.

    Args:
        image_size: side of the central square, in pixels.
        crop_ratio: `image_size` divided by the short side that the image is resized to.
        interpolation: `"bilinear"` or `"bicubic"`.
        image_mean, image_std: per channel, for pixels in [0, 1].
        exif_orientation: what whoever opens the file is to do. The processor only carries it: it gets pixels.
    """
    resize_size = evaluation_resize_size(image_size, crop_ratio)
    return processor_of_sizes(resize_size, image_size, interpolation, image_mean, image_std, exif_orientation)


def processor_of_sizes(
    resize_size: int,
    image_size: int,
    interpolation: str,
    image_mean: list[float],
    image_std: list[float],
    exif_orientation: ExifOrientation = "apply",
) -> BitImageProcessor:
    """`image_processor`, by the short side that the image is resized to, in pixels, instead of a ratio."""
    processor: Any = BitImageProcessor(
        do_convert_rgb=len(image_mean) == 3,  # it knows no other conversion: grey images and RGBA are given as such
        do_resize=True,
        size={"shortest_edge": resize_size},
        resample=PIL_NUMBERS[interpolation],
        do_center_crop=True,
        crop_size={"height": image_size, "width": image_size},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=image_mean,
        image_std=image_std,
    )
    processor.exif_orientation = exif_orientation  # a field of ours, which is saved and loaded with the others
    return processor


def exif_orientation_of(processor: Any) -> ExifOrientation:
    """
    What a processor carries; "apply", as transformers' pipelines do, if it says nothing.

    Raises:
        UserError: something else than there is.
    """
    value = getattr(processor, "exif_orientation", "apply")
    if value not in EXIF_ORIENTATIONS:
        raise UserError(f"exif_orientation must be apply or ignore, the image processor has {value!r}")
    return value


def require_statistics_of(num_channels: int, processor: Any, name_or_path: str) -> None:
    """
    Raises:
        UserError: the processor normalises other channels than the model takes.
    """
    for name in ("image_mean", "image_std"):
        values = getattr(processor, name, None)
        if isinstance(values, list | tuple) and len(values) != num_channels:
            raise UserError(
                f"{name_or_path} takes images of {num_channels} channels, but its processor has {name} "
                f"{list(values)}: give it one number for each channel, in preprocessor_config.json"
            )


def timm_preprocessing(processor: BitImageProcessor) -> dict[str, Any]:
    """What the processor does, in the terms of timm's `pretrained_cfg`."""
    crop_size, resize_size = processor.crop_size["height"], processor.size["shortest_edge"]
    crop_pct = crop_size / resize_size
    if math.floor(crop_size / crop_pct) != resize_size:  # rounding: timm would resize to one pixel less
        crop_pct = crop_size / (resize_size + 0.5)
    return {
        "input_size": [len(processor.image_mean), crop_size, crop_size],
        "mean": list(processor.image_mean),
        "std": list(processor.image_std),
        "interpolation": INTERPOLATIONS[int(processor.resample)],
        "crop_pct": crop_pct,
        "crop_mode": "center",
    }


def save_model(folder: Path, model: PreTrainedModel, trained: TrainedModel) -> None:
    """
    Everything a user needs to load a trained model, and to know it, in one folder.

    Args:
        folder: exists, and is empty.
        model: unwrapped.
        trained: what its run has to say of it.
    """
    recipe = trained.recipe
    processor = image_processor(
        recipe.eval_image_size or recipe.image_size,
        recipe.eval_crop_ratio,
        recipe.interpolation,
        recipe.image_mean,
        recipe.image_std,
        recipe.exif_orientation,
    )
    save_model_and_processor(folder, model, processor)
    _save_card(folder, model, trained)


def renew_card(
    folder: Path, model: PreTrainedModel, trained: TrainedModel, both_protocols: dict[str, Any] | None = None
) -> None:
    """
    Tell a saved model's card how the run went on.

    Args:
        folder: a model that `save_model` wrote.
        model: of the same architecture, with any weights.
        trained: what its run has to say of it now.
        both_protocols: what transformers' pixels change, to be told from now on: `dataset`, `images`, and the
            difference in `words`.
    """
    with replaced_folder(folder) as renewed:
        shutil.copytree(folder, renewed, dirs_exist_ok=True)
        if both_protocols is not None:
            (renewed / _BOTH_PROTOCOLS_FILE).write_text(json.dumps(both_protocols) + "\n", encoding="utf-8")
        _save_card(renewed, model, trained)


def _save_card(folder: Path, model: PreTrainedModel, trained: TrainedModel) -> None:
    """The card, and beside it what it stands on: curves, metrics, recipe, results for leaderboards."""
    both = folder / _BOTH_PROTOCOLS_FILE
    both_protocols = json.loads(both.read_text(encoding="utf-8")) if both.is_file() else None
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model_card(model, trained, both_protocols, config.get("confidence_threshold")).save(folder / "README.md")
    _, best = trained.recipe.best_of(trained.history)
    draw_training_curves(trained.history, best.epoch, folder / CURVES_FILE)
    (folder / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in trained.history))
    settings = yaml.safe_dump(trained.recipe.public_dict(), sort_keys=False, allow_unicode=True, width=119)
    (folder / RECIPE_FILE).write_text(settings, encoding="utf-8")
    for name, content in eval_results(trained).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")


def save_model_and_processor(folder: Path, model: PreTrainedModel, processor: BitImageProcessor) -> None:
    """Weights, config and code of a model, and its processor, which config.json repeats in timm's terms."""
    cfg = model.config.pretrained_cfg or {}
    codes = {key: cfg[key] for key in ("label_names", "label_descriptions") if key in cfg}
    model.config.pretrained_cfg = {**timm_preprocessing(processor), **codes}
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _class_of(name_or_path: str, trust_remote_code: bool) -> Any:
    """
    That opens a model. With code of its own, the class in that code: the Auto class (transformers 5.24) would keep the
    first one for every later model that has the same configuration's code.
    """
    if trust_remote_code:
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=True)
        reference = (getattr(config, "auto_map", None) or {}).get("AutoModelForImageClassification")
        if reference is not None and not isinstance(config, ResNet50Config):
            return get_class_from_dynamic_module(reference, name_or_path)
    return AutoModelForImageClassification


def load_model(
    name_or_path: str, trust_remote_code: bool = False, dtype: Literal["float32", "auto"] = "float32"
) -> tuple[PreTrainedModel, Any]:
    """
    An image classifier and its processor, from a folder or the Hub.

    Args:
        name_or_path: as transformers takes it.
        trust_remote_code: run the code that comes with it.
        dtype: of the weights: float32, or "auto", as they were saved.

    Raises:
        UserError: nothing there, damaged files, a config that makes no sense, or weights that do not fill the model
            (transformers itself would go on, with random numbers in their place).
    """
    try:
        check_sizes(name_or_path)
        model, loading = _class_of(name_or_path, trust_remote_code).from_pretrained(
            name_or_path, trust_remote_code=trust_remote_code, dtype=dtype, output_loading_info=True
        )
        missing = sorted(loading["missing_keys"]) + sorted(str(key) for key in loading["mismatched_keys"])
        if missing:
            raise UserError(f"its weights lack {len(missing)} tensors, first {missing[0]}")
        processor = AutoImageProcessor.from_pretrained(name_or_path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError, StrictDataclassError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot load the model {name_or_path}: {in_one_line(error)}") from error
    num_channels = getattr(model.config, "num_channels", None)
    if num_channels is not None:
        require_statistics_of(num_channels, processor, name_or_path)
    return model, processor
