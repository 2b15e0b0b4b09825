"""
A recipe: everything about a training run that decides its result, and nothing about the machine.

One YAML file per recipe, checked into the `Recipe` dataclass; any field can be overridden on the command line. Field
names are those of transformers' `TrainingArguments` and example scripts where these have one.
"""

import copy
import math
import re
import sys
import types
import typing
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError, StrictDataclassFieldValidationError
from transformers import HfArgumentParser

from .configuration_resnet50 import ResNet50Config
from .errors import UserError, did_you_mean


def _field(default: Any, help: str) -> Any:
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@strict
@dataclass(kw_only=True)
class Recipe:
    """
    All fields of a training run, with their defaults: ResNet-50 on ImageNet-1K, SGD, 90 epochs.

    Raises:
        UserError: a value that cannot work, named, with what would.
    """

    # Data
    dataset_name: str = _field(
        "ILSVRC/imagenet-1k",
        "A data set on the Hub, a local folder (train/<class>/*.jpg and val/<class>/*.jpg, or parquet files), one "
        "parquet file, or 'digits', which is embedded.",
    )
    dataset_config_name: str | None = _field(None, "Configuration of the data set on the Hub, if it has several.")
    train_split_name: str | None = _field(None, "Split to train on. Unset: 'train'.")
    validation_split_name: str | None = _field(
        None, "Split to evaluate on. Unset: the first there is of 'validation', 'val', 'valid', 'test'."
    )
    train_val_split: float | None = _field(
        None, "Fraction of the training images, the same in each class, held out when there is no validation split."
    )
    image_column_name: str | None = _field(None, "Column of the images. Unset: the only image column.")
    label_column_name: str | None = _field(
        None, "Column of the labels. Unset: the only class-label column, or 'label'."
    )
    streaming: bool = _field(
        False, "Read parquet shards, of a folder or of the Hub, as they are needed, instead of a copy on this disk."
    )
    shuffle_buffer: int = _field(
        2000, "When streaming: images that each worker process holds in memory to draw from, about 0.1 MB each."
    )
    dataloader_num_workers: int | None = _field(
        None,
        "Processes that decode and augment images, for each training process. Unset: its share of the cores, up to 8.",
    )
    on_bad_image: Literal["error", "skip"] = _field(
        "error",
        "An unreadable training image stops the run, or is skipped: the next readable one stands in for it, and "
        "metrics and model card count it. Unreadable validation images always stop.",
    )
    max_bad_images: int = _field(
        10, "With on_bad_image skip: so many in one epoch, in one process; more stop the run."
    )

    # Images as the network sees them
    image_size: int = _field(224, "Side of the training images, in pixels.")
    eval_image_size: int | None = _field(None, "Side of the validation images, in pixels. Unset: image_size.")
    eval_crop_ratio: float = _field(
        0.875, "Validation images: short side resized to eval_image_size / eval_crop_ratio, then centre crop."
    )
    interpolation: Literal["bilinear", "bicubic"] = _field("bilinear", "Resampling filter, always with antialiasing.")
    random_crop_scale: list[float] = _field(
        [0.08, 1.0], "Random resized crop: smallest and largest share of the area."
    )
    random_crop_ratio: list[float] = _field(
        [3 / 4, 4 / 3], "Random resized crop: smallest and largest width / height."
    )
    random_flip: float = _field(0.5, "Probability of a horizontal flip.")
    image_mean: list[float] = _field([0.485, 0.456, 0.406], "Mean of each channel, for pixels in [0, 1].")
    image_std: list[float] = _field([0.229, 0.224, 0.225], "Standard deviation of each channel, for pixels in [0, 1].")

    # Model
    config_overrides: dict | str | None = _field(
        None, "Fields of ResNet50Config that differ from its defaults, e.g. '{stem_type: cifar}'."
    )
    sync_batch_norm: bool = _field(False, "BatchNorm over the images of all processes instead of each one's own.")
    gradient_checkpointing: bool = _field(False, "Recompute activations in the backward pass: less memory, slower.")

    # Optimisation
    num_train_epochs: int = _field(90, "Passes over the training images.")
    total_train_batch_size: int = _field(
        256, "Images per optimizer step, over all processes and accumulation steps together."
    )
    gradient_accumulation_steps: int = _field(1, "Forward and backward passes per optimizer step.")
    learning_rate: float = _field(0.1, "Peak learning rate, reached at the end of warm-up.")
    momentum: float = _field(0.9, "Momentum of SGD.")
    weight_decay: float = _field(1e-4, "L2 penalty on all parameters.")
    warmup_epochs: float = _field(5.0, "Epochs of linear warm-up from 0 to learning_rate.")
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = _field(
        "cosine", "Course of the learning rate after warm-up: down to 0 along a cosine or a line, or constant."
    )
    mixed_precision: Literal["no", "fp16", "bf16"] | None = _field(
        None, "fp16 scales the loss against underflow. Unset: what the accelerate configuration says."
    )
    seed: int = _field(42, "Decides initial weights, order of the images and their augmentation.")

    # Evaluation and output
    per_device_eval_batch_size: int | None = _field(None, "Unset: as many images as a training process holds at once.")
    output_dir: str | None = _field(None, "Run folder. Unset: runs/<name of the recipe>.")
    overwrite_output_dir: bool = _field(False, "Replace the run that output_dir already holds.")
    checkpoint_every_epochs: int = _field(10, "A full training state in checkpoints/ every so many epochs.")
    resume_from_checkpoint: str | None = _field(None, "'latest', or the path of a folder in checkpoints/.")
    report_to: str = _field("none", "Tracker, by the name Accelerate has for it: tensorboard, wandb, … or none.")
    push_to_hub: bool = _field(False, "Upload best/ to hub_model_id when training is done.")
    hub_model_id: str | None = _field(None, "Repository to push to, as user/name.")

    def __post_init__(self):
        if isinstance(self.config_overrides, str):  # from the command line
            try:
                self.config_overrides = yaml.load(self.config_overrides, Loader=_Loader)
            except (yaml.YAMLError, StrictDataclassFieldValidationError) as error:
                raise UserError(f"config_overrides is not a YAML mapping: {self.config_overrides!r}") from error
        for name in ("image_size", "num_train_epochs", "total_train_batch_size", "gradient_accumulation_steps",
                     "checkpoint_every_epochs", "eval_image_size", "per_device_eval_batch_size"):  # fmt: skip
            if getattr(self, name) is not None:
                self._require(name, getattr(self, name) >= 1, "must be at least 1")
        for name in ("learning_rate", "weight_decay", "warmup_epochs", "dataloader_num_workers", "seed",
                     "max_bad_images", "shuffle_buffer"):  # fmt: skip
            if getattr(self, name) is not None:
                self._require(name, 0 <= getattr(self, name) < math.inf, "must be 0 or more")
        self._require("momentum", 0 <= self.momentum < 1, "must be in [0, 1)")
        self._require("random_flip", 0 <= self.random_flip <= 1, "must be in [0, 1]")
        self._require("eval_crop_ratio", 0 < self.eval_crop_ratio <= 1, "must be in (0, 1]")
        if self.train_val_split is not None:
            self._require("train_val_split", 0 < self.train_val_split < 1, "must be between 0 and 1")
        for name in ("random_crop_scale", "random_crop_ratio"):
            bounds = getattr(self, name)
            self._require(
                name, len(bounds) == 2 and 0 < bounds[0] <= bounds[1], "must be two numbers, 0 < low <= high"
            )
        self._require("random_crop_scale", self.random_crop_scale[1] <= 1, "is a share of the image: at most 1")
        for name in ("image_mean", "image_std"):
            self._require(name, len(getattr(self, name)) == 3, "needs one number for each of R, G and B")
        self._require("image_std", min(self.image_std) > 0, "must be positive")
        self._require(
            "warmup_epochs",
            self.warmup_epochs <= self.num_train_epochs,
            f"must not be longer than the training (num_train_epochs is {self.num_train_epochs})",
        )
        if self.push_to_hub and not self.hub_model_id:
            raise UserError("push_to_hub needs hub_model_id, the repository to push to: --hub_model_id user/name")
        self.model_config()

    def _require(self, name: str, condition: bool, requirement: str) -> None:
        if not condition:
            raise UserError(f"{name} {requirement}, got {getattr(self, name)}")

    def model_config(self, label_names: list[str] | None = None) -> ResNet50Config:
        """
        The architecture this recipe trains, with a class for each of `label_names`.

        Raises:
            UserError: `config_overrides` has a field that the architecture does not have, or a value it cannot have.
        """
        overrides = self.config_overrides or {}
        known = [f.name for f in fields(ResNet50Config) if f.name in ResNet50Config.__annotations__]
        for name in overrides:
            if name not in known:
                raise UserError(
                    f"config_overrides: unknown field {name!r}{did_you_mean(name, known)} The architecture has: "
                    + ", ".join(known)
                )
        labels = {}
        if label_names is not None:
            labels = {
                "id2label": dict(enumerate(label_names)),
                "label2id": {name: index for index, name in enumerate(label_names)},
            }
        try:
            return ResNet50Config(**overrides, **labels)
        except (StrictDataclassError, TypeError) as error:
            raise UserError(f"config_overrides: {_cause(error)}") from error

    def local_batch_size(self, num_processes: int) -> int:
        """
        Images that one process takes through the network at once.

        Raises:
            UserError: the total does not divide over processes and accumulation steps.
        """
        parts = num_processes * self.gradient_accumulation_steps
        if self.total_train_batch_size % parts:
            below = self.total_train_batch_size // parts * parts
            nearest = f"{below} or {below + parts}" if below else f"{parts}"
            raise UserError(
                f"total_train_batch_size {self.total_train_batch_size} does not divide over {num_processes} "
                f"process(es) × {self.gradient_accumulation_steps} accumulation step(s); {nearest} would"
            )
        return self.total_train_batch_size // parts

    def public_dict(self) -> dict[str, Any]:
        """The fields that decide the result, fit to be published: no path of this machine's folders."""
        private = ("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "push_to_hub", "hub_model_id")
        settings = {name: value for name, value in asdict(self).items() if name not in private}
        path = Path(self.dataset_name)
        if path.exists() or path.is_absolute():
            settings["dataset_name"] = path.resolve().name
        return settings

    def flat_dict(self) -> dict[str, int | float | str]:
        """The fields as trackers take them: numbers and strings."""
        return {name: v if isinstance(v, (int, float)) else str(v) for name, v in self.public_dict().items()}

    def save(self, path: Path) -> None:
        """Write every field as YAML: training from that file is the same run again."""
        path.write_text(yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True, width=119))


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but `1e-4` is a number, and a key given twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_recipe_file(path: str | Path) -> dict[str, Any]:
    """
    Read and check a recipe's YAML.

    Returns:
        The fields it sets, each of the right name and type.

    Raises:
        UserError: no such file, not YAML, an unknown key, or a value of the wrong type.
    """
    path = Path(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the recipe {path}: {error}. There are: {_recipe_names()}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold `field: value` lines, not a {type(values).__name__}")
    types_of = typing.get_type_hints(Recipe)
    for name, value in values.items():
        if name not in types_of:
            raise UserError(f"{path}: unknown key {name!r}{did_you_mean(str(name), types_of)}")
        values[name] = _whole_numbers_as_floats(value, types_of[name])
    try:
        Recipe(**values)
    except StrictDataclassFieldValidationError as error:
        raise UserError(f"{path}: {_cause(error)}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return values


def parse_recipe(arguments: list[str] | None = None) -> Recipe:
    """
    `--config recipes/X.yaml [--any_field value]` as a checked recipe. `--help` explains each field.

    Args:
        arguments: the command line, without the program's name. None: this process's own.

    Raises:
        UserError: anything wrong with the file or the command line.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _Parser(
        Recipe,
        description="Train a ResNet-50. Start it with `accelerate launch train.py …`, or with python for one process.",
        usage="train.py --config recipes/NAME.yaml [--FIELD VALUE ...]",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="The recipe. Fields given beside it override its own.")
    config, _ = parser.parse_known_args(arguments)
    if config.config is None:
        raise UserError(f"which recipe? Give one with --config: {_recipe_names()}")
    parser.set_defaults(**load_recipe_file(config.config))
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [f"--{f.name}" for f in fields(Recipe)]
        raise UserError(f"unknown argument {unknown[0]!r}{did_you_mean(unknown[0], known)} --help lists them all")
    values = vars(namespace)
    name = Path(values.pop("config")).stem
    values["output_dir"] = values["output_dir"] or f"runs/{name}"
    try:
        return Recipe(**values)
    except StrictDataclassFieldValidationError as error:
        raise UserError(_cause(error)) from error


class _Parser(HfArgumentParser):
    @staticmethod
    def _parse_dataclass_field(parser, field):
        # The parent strips `None` from the field's own type, which `strict` still needs.
        HfArgumentParser._parse_dataclass_field(parser, copy.copy(field))

    def error(self, message: str):
        raise UserError(message)


def _recipe_names() -> str:
    """The recipes in reach, each with the first line of its header."""
    folder = Path("recipes")
    lines = [
        f"\n  {path}  {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}"
        for path in sorted(folder.glob("*.yaml"))
    ]
    return "".join(lines) or "none in ./recipes; start from the project's folder"


def _whole_numbers_as_floats(value: Any, hint: Any) -> Any:
    """`learning_rate: 1` means 1.0. Everything else stays as it is, for the type check to judge."""
    accepted = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(value) is int and float in accepted and int not in accepted:
        return float(value)
    if isinstance(value, list) and list[float] in accepted:
        return [_whole_numbers_as_floats(item, float) for item in value]
    return value


def _cause(error: Exception) -> str:
    """The reason inside huggingface_hub's two-line validation errors."""
    return str(error.__cause__ or error).strip()
