"""
A recipe: everything about a training run that decides its result, and nothing about the machine.

Field names are those of transformers' `TrainingArguments` and example scripts where these have one.
"""

import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from .errors import UserError


def _field(default: Any, help: str, repr: bool = True) -> Any:
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, repr=repr, metadata={"help": help})


_AT_LEAST_1 = (
    "image_size", "eval_image_size", "image_size_start", "num_train_epochs", "total_train_batch_size",
    "per_device_eval_batch_size", "gradient_accumulation_steps", "checkpoint_every_epochs", "augmentation_repeats",
    "rand_augment_num_ops", "mixup_group_size", "ema_every_steps", "keep_last", "keep_every_epochs",
    "checkpoint_every_steps", "max_skipped_steps", "logging_steps",
)  # fmt: skip
_AT_LEAST_0 = (
    "learning_rate", "min_learning_rate", "weight_decay", "max_grad_norm", "warmup_epochs", "warmup_start_factor",
    "lr_power", "lr_step_factor", "dataloader_num_workers", "seed", "max_bad_images", "shuffle_buffer",
    "hub_wait_minutes", "color_jitter", "rand_augment_magnitude_std", "mixup_alpha", "cutmix_alpha", "ema_start_epoch",
    "batch_norm_recalibration_steps",
)  # fmt: skip
_POSITIVE = ("distillation_temperature", "checkpoint_every_minutes", "loss_spike_factor", "watchdog_minutes")
_FITTING_STEPS = 4  # in an epoch, at least, with `fit_batch_to_data`
_SMALLEST_FITTING = 8  # images: of fewer, BatchNorm's statistics are noise
_SHARES = ("random_flip", "random_erasing", "mixup_prob", "mixup_switch_prob", "distillation_alpha")
# Nothing that anyone else would want to know.
_PRIVATE = (
    "output_dir", "overwrite_output_dir", "resume_from_checkpoint", "allow_recipe_change", "push_to_hub",
    "hub_model_id", "hub_strategy", "hub_private_repo", "hub_token", "hub_final_tag", "hub_backup_id",
    "hub_wait_minutes", "profile_steps",
)  # fmt: skip
# What may change within a run: who works, and what is kept of it. accelerate's configuration decides the precision.
_INDIFFERENT = (
    "dataloader_num_workers", "gradient_accumulation_steps", "gradient_checkpointing", "per_device_eval_batch_size",
    "checkpoint_every_epochs", "checkpoint_every_steps", "checkpoint_every_minutes", "keep_last", "keep_every_epochs",
    "report_to", "logging_steps", "on_nonfinite", "max_skipped_steps", "loss_spike_factor",
    "watchdog_minutes", "mixed_precision", "max_bad_images", "jpeg_decoder", "torch_compile", "torch_compile_mode",
    "cudnn_benchmark", "full_determinism", "fit_batch_to_data",
)  # fmt: skip


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
        None,
        "Fraction of the training images, at least one of each class, held out if there is no validation split.",
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
        "Processes that decode and augment images, for each training process. Unset: its share of the cores, up to "
        "16. Each keeps three batches in shared memory: 0.12 GB at 256 images of 224 pixels.",
    )
    on_bad_image: Literal["error", "skip"] = _field(
        "error",
        "An unreadable training image stops the run, or is skipped: the next readable one stands in for it, and "
        "metrics and model card count it. Unreadable validation images always stop.",
    )
    jpeg_decoder: Literal["simplejpeg", "nvimgcodec"] = _field(
        "simplejpeg",
        "nvimgcodec decodes no more of a training image than its crop: the same pixels in less time, but damage goes "
        "unnoticed. For images that `resnet50 prepare check` has passed; needs the extra nvimgcodec.",
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
    crop_mode: Literal["center", "squash", "pad"] = _field(
        "center",
        "Validation images that are not square: center crops; squash resizes both sides; pad resizes the long side "
        "and adds margins of the mean colour. These two show all of the image where eval_crop_ratio is 1.",
    )
    interpolation: Literal["bilinear", "bicubic"] = _field("bilinear", "Resampling filter, always with antialiasing.")
    train_interpolation: Literal["bilinear", "bicubic", "random"] | None = _field(
        None, "For training images, if it is another one; random draws one of the two for each image, as timm does."
    )
    exif_orientation: Literal["apply", "ignore"] = _field(
        "apply",
        "Turn photos upright as their EXIF data say, as datasets, transformers and OpenCV do, or leave them as they "
        "are stored, as timm, torchvision and ffcv do: about one in 1,000 of ImageNet's.",
    )
    random_crop_scale: list[float] = _field(
        [0.08, 1.0], "Random resized crop: smallest and largest share of the area."
    )
    random_crop_ratio: list[float] = _field(
        [3 / 4, 4 / 3], "Random resized crop: smallest and largest width / height."
    )
    random_flip: float = _field(0.5, "Probability of a horizontal flip.")
    color_jitter: float = _field(0.0, "Random brightness, contrast and saturation, up to this share. 0: off.")
    auto_augment: Literal["none", "randaugment", "trivialaugment", "autoaugment", "augmix"] = _field(
        "none",
        "Augmentation policy. randaugment is timm's, with increasing severity; the others are torchvision's.",
    )
    rand_augment_num_ops: int = _field(2, "RandAugment: operations per image.")
    rand_augment_magnitude: float = _field(9.0, "RandAugment: their magnitude, 0 to 10.")
    rand_augment_magnitude_std: float = _field(0.5, "RandAugment: standard deviation of the magnitude.")
    random_erasing: float = _field(0.0, "Probability that a rectangle is erased to the mean colour.")
    augmentation_repeats: int = _field(
        1, "Repeated augmentation: how often an image is in a batch, each time augmented anew. An epoch stays as long."
    )
    image_size_start: int | None = _field(
        None, "Progressive resizing: side of the training images in the first epochs. Unset: always image_size."
    )
    image_size_ramp: list[int] | None = _field(
        None,
        "Progressive resizing: epochs, counted from 0, until which it is image_size_start and from which image_size.",
    )
    mixup_alpha: float = _field(0.0, "Mixup: parameter of the Beta distribution. 0: off.")
    cutmix_alpha: float = _field(0.0, "CutMix: parameter of the Beta distribution. 0: off.")
    mixup_prob: float = _field(1.0, "Probability that a batch is mixed at all.")
    mixup_switch_prob: float = _field(0.5, "Where both are on: probability of CutMix instead of mixup.")
    mixup_group_size: int | None = _field(
        None,
        "Images that share one draw of mixup: the batch per device of whoever published the recipe, on any number of "
        "devices. Unset: all of a step.",
    )
    image_mean: list[float] = _field([0.485, 0.456, 0.406], "Mean of each channel, for pixels in [0, 1].")
    image_std: list[float] = _field([0.229, 0.224, 0.225], "Standard deviation of each channel, for pixels in [0, 1].")

    # Model
    model_name_or_path: str | None = _field(
        None,
        "Weights to start from: a folder or an id on the Hub (of this library, timm or transformers), timm:NAME, or a "
        "file. The classifier is kept if the classes are the same, and new otherwise. Unset: from scratch.",
    )
    config_overrides: dict | None = _field(  # type: ignore[type-arg]  # the command line's parser knows the bare one
        None, "Fields of ResNet50Config that differ from its defaults, e.g. '{stem_type: cifar}'."
    )
    sync_batch_norm: bool = _field(False, "BatchNorm over the images of all processes instead of each one's own.")
    freeze_batch_norm: bool = _field(
        False, "Keep BatchNorm's statistics as they are, as for small batches in fine-tuning."
    )
    gradient_checkpointing: bool = _field(False, "Recompute activations in the backward pass: less memory, slower.")

    # Optimisation
    num_train_epochs: int = _field(90, "Passes over the training images.")
    total_train_batch_size: int = _field(
        256, "Images per optimizer step, over all processes and accumulation steps together."
    )
    fit_batch_to_data: bool = _field(
        False,
        "Where there are few images: halve total_train_batch_size, down to 8, until an epoch has 4 steps. What is "
        "arithmetic of it follows. Said at the start.",
    )
    gradient_accumulation_steps: int = _field(1, "Forward and backward passes per optimizer step.")
    optim: str = _field("sgd", "sgd, or any optimizer that timm creates, by name: lamb, lars, adamw, ….")
    momentum: float = _field(0.9, "Momentum of SGD and its kin.")
    nesterov: bool = _field(False, "Nesterov's momentum, for sgd.")
    optim_args: dict | None = _field(  # type: ignore[type-arg]  # as above
        None, "Further arguments of the optimizer, e.g. '{betas: [0.9, 0.99]}'."
    )
    weight_decay: float = _field(1e-4, "L2 penalty, or decoupled decay where the optimizer has that.")
    weight_decay_on: Literal["all", "all_but_norm", "all_but_norm_and_bias"] = _field(
        "all", "Parameters that decay: all; without BatchNorm's; or also without the classifier's bias."
    )
    gradient_compression: Literal["fp16", "bf16"] | None = _field(
        None, "Gradients cross the network between processes in 16 bits. For machines that wait for their network."
    )
    max_grad_norm: float | None = _field(None, "Clip the norm of the gradient. Unset: off.")
    learning_rate: float = _field(0.1, "Peak learning rate, reached at the end of warm-up.")
    lr_scheduler_type: Literal["cosine", "linear", "polynomial", "step", "one_cycle", "constant"] = _field(
        "cosine", "Course of the learning rate after warm-up. In one_cycle the warm-up is a part of it."
    )
    lr_scheduler_interval: Literal["step", "epoch"] = _field(
        "step", "Whether it moves at every step or, as in torchvision's and timm's scripts, once per epoch."
    )
    warmup_epochs: float = _field(5.0, "Epochs of linear warm-up to learning_rate.")
    warmup_start_factor: float | None = _field(
        None, "Warm-up starts at this share of learning_rate. Unset: the first of n steps is at 1/n, the last at 1."
    )
    warmup_replaces_schedule: bool = _field(
        False, "The course after warm-up starts where it would be without one, as in timm, instead of from its start."
    )
    min_learning_rate: float = _field(0.0, "Where cosine, linear and polynomial end.")
    lr_power: float = _field(2.0, "Power of polynomial.")
    lr_step_epochs: list[float] = _field([30.0, 60.0], "For step: epochs after which the learning rate falls.")
    lr_step_factor: float = _field(0.1, "For step: by this factor.")
    mixed_precision: Literal["no", "fp16", "bf16", "auto"] | None = _field(
        None,
        "fp16 scales the loss against underflow. auto: on a GPU fp16, or bf16 with torch_compile; on a CPU bf16 if it "
        "has instructions for it, else no. Unset: what the accelerate configuration says.",
    )
    seed: int = _field(42, "Decides initial weights, order of the images and their augmentation.")
    torch_compile: bool = _field(
        False, "Compile model and loss by torch.compile: faster steps on a GPU, after a minute or two of compiling."
    )
    torch_compile_mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = _field(
        "default", "For torch_compile; reduce-overhead replays CUDA graphs, for steps that wait for launches."
    )
    cudnn_benchmark: bool | None = _field(
        None, "On a GPU, let cuDNN time its algorithms and take the fastest. Unset: unless full_determinism."
    )
    full_determinism: bool = _field(
        False,
        "On a GPU, deterministic algorithms only: the same run again, or resumed, has the very same weights. Without "
        "it they may differ in their last bits. On a CPU they never do.",
    )

    # Loss
    loss: Literal["cross_entropy", "bce"] = _field(
        "cross_entropy", "bce: binary cross-entropy of each class, as in ResNet strikes back."
    )
    label_smoothing_factor: float = _field(0.0, "Share of the target that is spread over all classes.")
    bce_target_threshold: float | None = _field(
        None, "For bce: mixed targets above this are 1, others 0. Unset: they stay soft."
    )
    teacher: str | None = _field(
        None, "Distil from this classifier of the same classes, a folder or an id on the Hub (timm's too)."
    )
    distillation_alpha: float = _field(0.5, "Share of the teacher in the loss.")
    distillation_temperature: float = _field(1.0, "Softens the outputs of both.")

    # When numbers go wrong
    on_nonfinite: Literal["stop", "rollback"] = _field(
        "stop",
        "When the loss is not finite or leaps, or fp16 skips steps in a row: stop with a diagnosis, or go back to the "
        "last checkpoint and leave those batches out.",
    )
    max_skipped_steps: int = _field(20, "So many steps in a row may fp16 skip, while it lowers the loss scale.")
    loss_spike_factor: float | None = _field(
        10.0,
        "A loss leaps if it is more than so many times that of guessing, and than the median of the last 100 steps. "
        "Unset: whatever is finite will do.",
    )
    watchdog_minutes: float | None = _field(
        30.0, "End the run if a process has not finished a batch for so long; say which one. Unset: wait for ever."
    )

    # Averaged weights
    ema_decay: float | None = _field(None, "Exponential moving average of the weights, with this decay. Unset: off.")
    ema_every_steps: int = _field(1, "Update it every so many optimizer steps.")
    ema_warmup: bool = _field(False, "Start with a small decay that grows, by timm's formula.")
    ema_start_epoch: int = _field(0, "Until so many epochs are over, the average is a copy of the weights.")
    swa_start_epoch: int | None = _field(
        None, "Stochastic weight averaging: mean of the weights after each epoch from this one on. Unset: off."
    )
    batch_norm_recalibration_steps: int = _field(
        0, "Measure BatchNorm's statistics anew, on so many batches, for averaged weights. SWA needs some."
    )

    # Evaluation and output
    eval_flip: bool = _field(False, "Test-time augmentation: mean of the logits of each image and its mirror image.")
    per_device_eval_batch_size: int | None = _field(None, "Unset: as many images as a training process holds at once.")
    output_dir: str | None = _field(None, "Run folder. Unset: runs/<name of the recipe>.")
    overwrite_output_dir: bool = _field(False, "Replace the run that output_dir already holds.")
    checkpoint_every_epochs: int = _field(10, "A full training state in checkpoints/ every so many epochs.")
    checkpoint_every_steps: int | None = _field(None, "…and every so many optimizer steps, also within an epoch.")
    checkpoint_every_minutes: float | None = _field(None, "…and when so many minutes have passed since the last one.")
    keep_last: int | None = _field(None, "Checkpoints to keep, the newest ones. Unset: all.")
    keep_every_epochs: int | None = _field(None, "With keep_last: keep those of every so many epochs as well.")
    metric_for_best_model: Literal["val_top1", "val_top5", "val_loss"] = _field(
        "val_top1", "Which metric decides what best/ holds. Of losses, the lowest is best."
    )
    resume_from_checkpoint: str | None = _field(
        None,
        "'latest', which is the newest whole one; 'auto', the same, or hub_backup_id's, or a new run if neither is; "
        "the path of one in checkpoints/; or 'hub:', hub_backup_id's ('hub:user/name': another's).",
    )
    allow_recipe_change: bool = _field(False, "Resume although fields that decide the result have changed.")
    profile_steps: str | None = _field(
        None,
        "Profile these optimizer steps of the run, counted from 1, as in 10-20: a trace, and where the time goes, in "
        "profile/ of the run folder.",
    )
    report_to: list[str] | str = _field(
        ["none"],
        "Trackers, one or several, by the names Accelerate has for them: tensorboard, trackio, wandb, mlflow, …; or "
        "none.",
    )
    logging_steps: int = _field(50, "Tell the trackers every so many optimizer steps, besides after each epoch.")
    push_to_hub: bool = _field(False, "Publish the model at hub_model_id, while training goes on.")
    hub_model_id: str | None = _field(None, "Repository to push to, as user/name.")
    hub_strategy: Literal["end", "best", "every_checkpoint", "all_checkpoints"] = _field(
        "best",
        "When best/ is pushed to main: at the end, whenever it is new, or at every checkpoint. all_checkpoints: when "
        "it is new, and each checkpoint's model to a branch of its own, epoch-0010.",
    )
    hub_private_repo: bool | None = _field(
        None, "Whether a new repository is private. Unset: the namespace's default."
    )
    hub_token: str | None = _field(
        None, "Unset: HF_TOKEN, or that of `hf auth login`. It is never written anywhere.", repr=False
    )
    hub_final_tag: str | None = _field(None, "Push final/ as well, to the branch `final`, and give it this tag: v1.0.")
    hub_backup_id: str | None = _field(
        None,
        "Private repository that always has the newest checkpoint; --resume_from_checkpoint hub: goes on from it.",
    )
    hub_wait_minutes: float = _field(15.0, "At the end, wait so long for what the Hub has not yet taken.")

    def __post_init__(self) -> None:
        for name in _AT_LEAST_1:
            if getattr(self, name) is not None:
                self._require(name, getattr(self, name) >= 1, "must be at least 1")
        for name in _AT_LEAST_0:
            if getattr(self, name) is not None:
                self._require(name, 0 <= getattr(self, name) < math.inf, "must be 0 or more")
        for name in _POSITIVE:
            if getattr(self, name) is not None:
                self._require(name, 0 < getattr(self, name) < math.inf, "must be positive")
        for name in _SHARES:
            self._require(name, 0 <= getattr(self, name) <= 1, "must be in [0, 1]")
        for name in ("label_smoothing_factor", "ema_decay", "bce_target_threshold"):
            if getattr(self, name) is not None:
                self._require(name, 0 <= getattr(self, name) < 1, "must be in [0, 1)")
        self._require("seed", self.seed < 2**32, "must be below 4,294,967,296, for NumPy")
        self._require("momentum", 0 <= self.momentum < 1, "must be in [0, 1)")
        self._require("eval_crop_ratio", 0 < self.eval_crop_ratio <= 1, "must be in (0, 1]")
        if self.train_val_split is not None:
            self._require("train_val_split", 0 < self.train_val_split < 1, "must be between 0 and 1")
        for name in ("random_crop_scale", "random_crop_ratio"):
            bounds = getattr(self, name)
            self._require(
                name, len(bounds) == 2 and 0 < bounds[0] <= bounds[1], "must be two numbers, 0 < low <= high"
            )
        self._require("random_crop_scale", self.random_crop_scale[1] <= 1, "is a share of the image: at most 1")
        if self.num_channels not in (1, 3, 4):
            raise UserError(
                f"config_overrides: num_channels must be 1 (grey), 3 (RGB) or 4 (RGBA), got {self.num_channels}"
            )
        for name in ("image_mean", "image_std"):
            fits = len(getattr(self, name)) == self.num_channels
            self._require(name, fits, f"needs one number for each channel ({self.num_channels})")
        if self.num_channels == 4 and (self.color_jitter or self.auto_augment != "none"):
            raise UserError("color_jitter and auto_augment are for images of 1 or 3 channels, and these have 4")
        self._require("image_std", min(self.image_std) > 0, "must be positive")
        self._require(
            "warmup_epochs",
            self.warmup_epochs <= self.num_train_epochs,
            f"must not be longer than the training (num_train_epochs is {self.num_train_epochs})",
        )
        self._require("rand_augment_magnitude", 0 <= self.rand_augment_magnitude <= 10, "must be in [0, 10]")
        if self.mixup_group_size is not None:
            self._require("mixup_group_size", self.mixup_group_size % 2 == 0, "must be even: images mix in pairs")
        self._check_epochs()
        if self.bce_target_threshold is not None and self.loss != "bce":
            raise UserError(
                "bce_target_threshold has no meaning for loss cross_entropy: leave it out, or give --loss bce"
            )
        if self.ema_decay is not None and self.swa_start_epoch is not None:
            raise UserError("ema_decay and swa_start_epoch are two ways to average the weights: choose one")
        if self.swa_start_epoch is not None and not self.batch_norm_recalibration_steps:
            raise UserError(
                "swa_start_epoch needs --batch_norm_recalibration_steps 100 or so: averaged weights have no BatchNorm "
                "statistics of their own"
            )
        if self.full_determinism and self.cudnn_benchmark:
            raise UserError(
                "cudnn_benchmark picks algorithms by the clock, which full_determinism must not: choose one of them"
            )
        if self.streaming and self.augmentation_repeats > 1:
            raise UserError("augmentation_repeats needs images at hand, which streaming has not: set one of them off")
        if self.keep_every_epochs is not None and self.keep_last is None:
            raise UserError("keep_every_epochs says what to keep beside keep_last: set that too, --keep_last 2")
        if self.push_to_hub and not self.hub_model_id:
            raise UserError("push_to_hub needs hub_model_id, the repository to push to: --hub_model_id user/name")
        for name in ("hub_model_id", "hub_backup_id"):
            repo_id = getattr(self, name)
            if repo_id is not None and not is_repo_id(repo_id):
                raise UserError(f"{name} must be user/name, of letters, digits, '-', '_' and '.', got {repo_id!r}")
        if self.hub_backup_id is not None and self.hub_backup_id == self.hub_model_id:
            raise UserError(
                "hub_backup_id is for training states, and private: give it another name than hub_model_id"
            )
        if self.profile_steps is not None:
            bounds = re.fullmatch(r"([1-9]\d*)-([1-9]\d*)", self.profile_steps)
            valid = bounds is not None and int(bounds[1]) <= int(bounds[2])
            self._require("profile_steps", valid, "must be two steps, the first and the last, as in 10-20")

    def _check_epochs(self) -> None:
        epochs = self.num_train_epochs
        if (self.image_size_start is None) != (self.image_size_ramp is None):
            raise UserError("progressive resizing needs both image_size_start and image_size_ramp")
        if self.image_size_ramp is not None:
            ramp = self.image_size_ramp
            self._require(
                "image_size_ramp",
                len(ramp) == 2 and 0 <= ramp[0] <= ramp[1] <= epochs,
                f"must be two epochs, 0 <= first <= last <= {epochs}",
            )
        if self.swa_start_epoch is not None:
            self._require("swa_start_epoch", 1 <= self.swa_start_epoch <= epochs, f"must be in [1, {epochs}]")
        self._require("lr_step_epochs", sorted(self.lr_step_epochs) == self.lr_step_epochs, "must rise")

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed with each other, so that targets are soft."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    @property
    def trackers(self) -> list[str]:
        """The names in `report_to`; none for `none`."""
        names = [self.report_to] if isinstance(self.report_to, str) else self.report_to
        return [] if names == ["none"] else list(dict.fromkeys(names))

    @property
    def averages(self) -> bool:
        """Whether there is an average of the weights beside them."""
        return self.ema_decay is not None or self.swa_start_epoch is not None

    @property
    def profiled_steps(self) -> range | None:
        """Those of `profile_steps`, counted from 1."""
        if self.profile_steps is None:
            return None
        first, last = map(int, self.profile_steps.split("-"))
        return range(first, last + 1)

    def _require(self, name: str, condition: bool, requirement: str) -> None:
        if not condition:
            raise UserError(f"{name} {requirement}, got {getattr(self, name)}")

    @property
    def num_channels(self) -> int:
        """Of the images, as the network takes them."""
        return (self.config_overrides or {}).get("num_channels", 3)

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
                f"process(es) × {self.gradient_accumulation_steps} accumulation step(s): --total_train_batch_size "
                f"{nearest} would"
            )
        return self.total_train_batch_size // parts

    def fitting_batch_size(self, num_images: int, num_processes: int) -> int:
        """`total_train_batch_size`, or what `fit_batch_to_data` makes of it for so many training images."""
        size, parts = self.total_train_batch_size, num_processes * self.gradient_accumulation_steps
        if self.fit_batch_to_data:
            while num_images < _FITTING_STEPS * size and size // 2 >= _SMALLEST_FITTING and size % (2 * parts) == 0:
                size //= 2
        return size

    def check_fills_a_batch(self, num_images: int) -> None:
        """Raises: UserError, if so many training images are fewer than one optimizer step takes."""
        if num_images < self.total_train_batch_size:
            fitting = 2 ** max(0, (num_images // _FITTING_STEPS).bit_length() - 1)
            raise UserError(
                f"{num_images:,} training images are fewer than one batch of {self.total_train_batch_size}: "
                f"--total_train_batch_size {fitting}"
            )

    def checkpoint_is_due(self, images: int, epoch: int, images_per_epoch: int) -> bool:
        """
        Whether `checkpoint_every_steps` asks for one within an epoch. At its end, `checkpoint_every_epochs` decides.

        Args:
            images: done in the epoch: whole steps.
            epoch: which one it is, counted from 1.
            images_per_epoch: of a whole one, in whole steps.
        """
        if self.checkpoint_every_steps is None or images == images_per_epoch:
            return False
        steps = ((epoch - 1) * images_per_epoch + images) // self.total_train_batch_size
        return steps % self.checkpoint_every_steps == 0

    def score(self, row: dict[str, Any], prefix: str = "") -> float:
        """`metric_for_best_model` in a row of metrics.jsonl, so that more is better; -inf if it is not finite."""
        value = row[f"{prefix}{self.metric_for_best_model}"]
        if not math.isfinite(value):
            return -math.inf
        return -value if self.metric_for_best_model.endswith("loss") else value

    def best_of(self, history: list[dict[str, Any]]) -> tuple[float, int, str]:
        """
        The best of all weights that were evaluated, by `score`: that, its epoch, and the prefix of its columns,
        `"average_"` for averaged weights. Of equals, the first. -inf and epoch 0 if there are none.

        Args:
            history: rows of metrics.jsonl.
        """
        columns = [(row, prefix) for row in history for prefix in ("", "average_") if f"{prefix}val_loss" in row]
        scores = [(self.score(row, prefix), row["epoch"], prefix) for row, prefix in columns]
        return max(scores, key=lambda found: found[0], default=(-math.inf, 0, ""))

    def changes_since(self, saved: dict[str, Any]) -> list[str]:
        """
        What decides the result and was otherwise in a saved recipe: "learning_rate: 0.1 -> 0.2".

        Args:
            saved: its fields; those it lacks had their defaults.
        """
        before = asdict(Recipe()) | saved
        now = asdict(self)
        decisive = [name for name in now if name not in _PRIVATE + _INDIFFERENT and now[name] != before[name]]
        return [f"{name}: {before[name]} -> {now[name]}" for name in decisive]

    def public_dict(self) -> dict[str, Any]:
        """The fields that decide the result, fit to be published: no path of this machine's folders."""
        settings = {name: value for name, value in asdict(self).items() if name not in _PRIVATE}
        for name in ("dataset_name", "model_name_or_path", "teacher"):
            if settings[name] is not None:
                path = Path(settings[name]).expanduser()
                if path.exists() or path.is_absolute():
                    settings[name] = path.resolve().name
        return settings

    def flat_dict(self) -> dict[str, int | float | str]:
        """The fields as trackers take them: numbers and strings."""
        return {name: v if isinstance(v, (int, float)) else str(v) for name, v in self.public_dict().items()}

    def save(self, path: Path) -> None:
        """Write every field but the token as YAML: training from that file is the same run again."""
        fields = {name: value for name, value in asdict(self).items() if name != "hub_token"}
        path.write_text(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=119))


def is_repo_id(name: str) -> bool:
    """Whether a repository on the Hub could be called so: user/name."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name
