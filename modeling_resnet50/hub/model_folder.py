"""Write and read a model's folder: weights, config, code, image processor, card."""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    BitImageProcessor,
    PreTrainedModel,
    ResNetConfig,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.utils import IMAGE_PROCESSOR_NAME, PROCESSOR_NAME, cached_file

from resnet50_recipe.errors import UserError, in_one_line
from resnet50_recipe.yaml_text import to_yaml

from ..configuration_resnet50 import ResNet50Config
from ..data.preprocessing import Preprocessing
from ..files import replaced_folder
from ..modeling_resnet50 import ResNet50ForImageClassification
from ..training.curves import draw_training_curves
from ..training.trained_model import TrainedModel
from .model_card import CURVES_FILE, METRICS_FILE, RECIPE_FILE, card_text, eval_results
from .shapes import check_sizes


_BOTH_PROTOCOLS_FILE = "both_protocols.json"


def image_processor(preprocessing: Preprocessing) -> BitImageProcessor:
    """transformers' own processor, set to prepare images so."""
    stated = preprocessing.for_processor()
    ours = {name: stated.pop(name) for name in ("exif_orientation", "crop_mode")}
    processor = BitImageProcessor(**stated)
    for name, value in ours.items():
        setattr(processor, name, value)  # saved and loaded with the others
    return processor


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


def save_model(folder: Path, model: PreTrainedModel, trained: TrainedModel) -> None:
    """
    Everything a user needs to load a trained model, and to know it, in one folder.

    Args:
        folder: exists, and is empty.
        model: unwrapped.
        trained: what its run has to say of it.
    """
    save_model_and_processor(folder, model, image_processor(Preprocessing.from_recipe(trained.recipe)))
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
    text = card_text(model, trained, both_protocols, config.get("confidence_threshold"))
    (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")
    _, best = trained.recipe.best_of(trained.history)
    draw_training_curves(trained.history, best.epoch, folder / CURVES_FILE)
    (folder / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in trained.history))
    (folder / RECIPE_FILE).write_text(to_yaml(trained.recipe.public_dict()), encoding="utf-8")
    for name, content in eval_results(trained).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")


def save_model_and_processor(folder: Path, model: PreTrainedModel, processor: BitImageProcessor) -> None:
    """Weights, config and code of a model, and its processor, which config.json repeats in timm's terms."""
    cfg = model.config.pretrained_cfg or {}
    codes = {key: cfg[key] for key in ("label_names", "label_descriptions") if key in cfg}
    model.config.pretrained_cfg = {**Preprocessing.from_processor(processor, "the model").for_timm(), **codes}
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


def has_processor(name_or_path: str) -> bool:
    """Whether it says how its images are prepared: a trained model that was saved by itself does not."""
    files = (IMAGE_PROCESSOR_NAME, PROCESSOR_NAME)
    return any(cached_file(name_or_path, name, _raise_exceptions_for_missing_entries=False) for name in files)


def load_our_model(
    name_or_path: str, dtype: Literal["float32", "auto"] = "float32"
) -> tuple[ResNet50ForImageClassification, Any]:
    """
    As `load_model`.

    Raises:
        UserError: also, another library's, or quantised.
    """
    model, processor = load_model(name_or_path, dtype=dtype)
    if not isinstance(model, ResNet50ForImageClassification):
        raise UserError(f"{name_or_path} is a {type(model).__name__}; make it ours first: resnet50 import")
    require_plain_weights(model, name_or_path)
    return model, processor


def require_plain_weights(model: PreTrainedModel, name_or_path: str) -> None:
    """
    Raises:
        UserError: they are of a quantisation of transformers, which computes with them and does nothing else.
    """
    if getattr(model.config, "quantization_config", None) is not None:
        raise UserError(f"{name_or_path} is quantised, to evaluate and predict only: give the model it was made of")


def load_model(
    name_or_path: str,
    trust_remote_code: bool = False,
    dtype: Literal["float32", "auto"] = "float32",
    needs_processor: bool = True,
) -> tuple[PreTrainedModel, Any]:
    """
    An image classifier and its processor, from a folder or the Hub.

    Args:
        name_or_path: as transformers takes it.
        trust_remote_code: run the code that comes with it.
        dtype: of the weights: float32, or "auto", as they were saved.
        needs_processor: without it, the processor may be None.

    Raises:
        UserError: nothing there, damaged files, a config that makes no sense, or weights that do not fill the model
            (transformers itself would go on, with random numbers in their place).
    """
    try:
        check_sizes(name_or_path)
        model, loading = _class_of(name_or_path, trust_remote_code).from_pretrained(
            name_or_path, trust_remote_code=trust_remote_code, dtype=dtype, output_loading_info=True
        )
        # safetensors maps the file into memory: another one copied over it would change the weights of this model
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
        missing = sorted(loading["missing_keys"]) + sorted(str(key) for key in loading["mismatched_keys"])
        if missing:
            raise UserError(f"its weights lack {len(missing)} tensors, first {missing[0]}")
        if isinstance(model.config, ResNet50Config | ResNetConfig) and not has_processor(name_or_path):
            if needs_processor:
                raise UserError(
                    f"{name_or_path} has no {IMAGE_PROCESSOR_NAME}, so it does not say how its images are prepared: "
                    "AutoImageProcessor.from_pretrained(WHAT IT WAS TRAINED FROM).save_pretrained(FOLDER) writes it, "
                    "or resnet50 import takes it for ImageNet's usual one"
                )
            return model, None
        processor = AutoImageProcessor.from_pretrained(name_or_path, trust_remote_code=trust_remote_code)
    except (
        OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError, StrictDataclassError
    ) as error:  # fmt: skip
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot load the model {name_or_path}: {in_one_line(error)}") from error
    num_channels = getattr(model.config, "num_channels", None)
    if num_channels is not None:
        require_statistics_of(num_channels, processor, name_or_path)
    return model, processor
