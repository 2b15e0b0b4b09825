"""
A recipe: everything about a training run that decides its result, and nothing about the machine.

Field names are those of transformers' `TrainingArguments` and example scripts where these have one.
"""

import math
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

from huggingface_hub.dataclasses import strict

from .errors import UserError
from .settings import AT_LEAST_0, AT_LEAST_1, BELOW_1, POSITIVE, SHARE, Range, Settings, setting
from .weights import Weights


CLASS_WEIGHTS = ("none", "balanced", "effective")
_WEIGHTS = Range(
    "none, balanced, effective, one number for each class in their order, {class: number}, or a YAML or JSON file of "
    "such a list or mapping; none negative, not all 0",
    lambda weights: weights in CLASS_WEIGHTS if isinstance(weights, str) else _are_weights(weights),
)
_BOUNDS = Range("two numbers, 0 < low <= high", lambda bounds: len(bounds) == 2 and 0 < bounds[0] <= bounds[1])


def _are_weights(weights: list[float] | dict[str, float]) -> bool:
    numbers = list(weights.values() if isinstance(weights, dict) else weights)
    return bool(numbers) and all(0 <= number < math.inf for number in numbers) and max(numbers) > 0


@strict
@dataclass(kw_only=True)
class Recipe(Settings):
    """
    All that decides the result of a training run, with defaults: ResNet-50 on ImageNet-1K, SGD, 90 epochs.

    Raises:
        UserError: a value that cannot work, named, with what would.
    """

    # Data
    dataset_name: str = setting(
        "ILSVRC/imagenet-1k",
        "A data set on the Hub, a local folder (train/<class>/*.jpg and val/<class>/*.jpg, metadata.csv beside "
        "images, or parquet files), one parquet file, a table of files and labels (.csv, .tsv, .jsonl) or a list of "
        "files (.txt), or 'digits', which is embedded.",
    )
    dataset_config_name: str | None = setting(None, "Configuration of the data set on the Hub, if it has several.")
    train_split_name: str | None = setting(None, "Split to train on. Unset: 'train'.")
    validation_split_name: str | None = setting(
        None, "Split to evaluate on. Unset: the first there is of 'validation', 'val', 'valid', 'test'."
    )
    train_val_split: float | None = setting(
        None,
        "Fraction of the training images, at least one of each class, held out if there is no validation split.",
        Range("between 0 and 1", lambda share: 0 < share < 1),
    )
    max_train_samples: int | None = setting(
        None,
        "Train on so many images at most, drawn once by the seed: each class by its share, at least one image. When "
        "streaming: whole row groups, drawn.",
        AT_LEAST_1,
    )
    max_eval_samples: int | None = setting(
        None, "Evaluate on so many images at most, drawn alike. No leaderboard gets such a result.", AT_LEAST_1
    )
    image_column_name: str | None = setting(
        None, "Column of the images, or of their files in a table. Unset: the only image column, or 'file_name'."
    )
    label_column_name: str | None = setting(
        None, "Column of the labels. Unset: the only class-label column, or 'label'."
    )
    streaming: bool = setting(
        False, "Read parquet shards, of a folder or of the Hub, as they are needed, instead of a copy on this disk."
    )
    shuffle_buffer: int = setting(
        2000,
        "When streaming: images that each worker process holds in memory to draw from, about 0.1 MB each.",
        AT_LEAST_0,
    )
    sampling: Literal["uniform", "balanced", "sqrt"] = setting(
        "uniform",
        "Images of each class in an epoch: as many as there are; balanced: as many of one as of any other; sqrt: in "
        "proportion to the square root of what there are. An epoch stays as long.",
    )
    on_bad_image: Literal["error", "skip"] = setting(
        "error",
        "An unreadable training image stops the run, or is skipped: the next readable one stands in for it, and "
        "metrics and model card count it. Unreadable validation images always stop.",
    )

    # Images as the network sees them
    image_size: int = setting(224, "Side of the training images, in pixels.", AT_LEAST_1)
    eval_image_size: int | None = setting(
        None, "Side of the validation images, in pixels. Unset: image_size.", AT_LEAST_1
    )
    eval_crop_ratio: float = setting(
        0.875,
        "Validation images: short side resized to eval_image_size / eval_crop_ratio, then centre crop.",
        Range("in (0, 1]", lambda ratio: 0 < ratio <= 1),
    )
    crop_mode: Literal["center", "squash", "pad"] = setting(
        "center",
        "Validation images that are not square: center crops; squash resizes both sides; pad resizes the long side "
        "and adds margins of the mean colour. These two show all of the image where eval_crop_ratio is 1.",
    )
    interpolation: Literal["bilinear", "bicubic"] = setting("bilinear", "Resampling filter, always with antialiasing.")
    train_interpolation: Literal["bilinear", "bicubic", "random"] | None = setting(
        None, "For training images, if it is another one; random draws one of the two for each image, as timm does."
    )
    exif_orientation: Literal["apply", "ignore"] = setting(
        "apply",
        "Turn photos upright as their EXIF data say, as datasets, transformers and, but for AVIF, OpenCV do, or leave "
        "them as they are stored, as timm, torchvision and ffcv do: about one in 1,000 of ImageNet's.",
    )
    random_crop_scale: list[float] = setting(
        [0.08, 1.0],
        "Random resized crop: smallest and largest share of the area.",
        _BOUNDS,
        Range("shares of the image, at most 1", lambda bounds: bounds[1] <= 1),
    )
    random_crop_ratio: list[float] = setting(
        [3 / 4, 4 / 3], "Random resized crop: smallest and largest width / height.", _BOUNDS
    )
    random_flip: float = setting(0.5, "Probability of a horizontal flip.", SHARE)
    random_vertical_flip: float = setting(0.0, "Probability of a vertical flip.", SHARE)
    random_rotate_90: float = setting(
        0.0, "Probability of a turn by 90, 180 or 270 degrees, each as likely. 0.75: any position as likely.", SHARE
    )
    color_jitter: float = setting(
        0.0, "Random brightness, contrast and saturation, up to this share. 0: off.", AT_LEAST_0
    )
    auto_augment: Literal["none", "randaugment", "trivialaugment", "autoaugment", "augmix", "three_augment"] = setting(
        "none",
        "Augmentation policy. randaugment is timm's; three_augment is DeiT III's, grey, solarised or blurred, with "
        "color_jitter 0.3 after it; the others are torchvision's.",
    )
    rand_augment_num_ops: int = setting(2, "RandAugment: operations per image.", AT_LEAST_1)
    rand_augment_magnitude: float = setting(
        9.0, "RandAugment: their magnitude.", Range("in [0, 10]", lambda magnitude: 0 <= magnitude <= 10)
    )
    rand_augment_magnitude_std: float = setting(0.5, "RandAugment: standard deviation of the magnitude.", AT_LEAST_0)
    rand_augment_increasing: bool = setting(
        True, "RandAugment: every operation grows with the magnitude (timm's inc1), or not all of them do (inc0)."
    )
    random_erasing: float = setting(0.0, "Probability that a rectangle is erased to the mean colour.", SHARE)
    augmentation_repeats: int = setting(
        1,
        "Repeated augmentation: how often an image is in a batch, each time augmented anew. An epoch stays as long.",
        AT_LEAST_1,
    )
    distinct_epochs: int | None = setting(
        None,
        "After so many epochs they begin again: the same images in the same order, with the same crops and mixes. "
        "With teacher_cache, so many are kept. Unset: each epoch is drawn anew.",
        AT_LEAST_1,
    )
    image_size_start: int | None = setting(
        None,
        "Progressive resizing: side of the training images in the first epochs. Unset: always image_size.",
        AT_LEAST_1,
    )
    image_size_ramp: list[int] | None = setting(
        None,
        "Progressive resizing: epochs, counted from 0, until which it is image_size_start and from which image_size.",
    )
    mixup_alpha: float = setting(0.0, "Mixup: parameter of the Beta distribution. 0: off.", AT_LEAST_0)
    cutmix_alpha: float = setting(0.0, "CutMix: parameter of the Beta distribution. 0: off.", AT_LEAST_0)
    mixup_prob: float = setting(1.0, "Probability that a batch is mixed at all.", SHARE)
    mixup_switch_prob: float = setting(0.5, "Where both are on: probability of CutMix instead of mixup.", SHARE)
    mixup_off_epoch: int = setting(0, "Mixup and CutMix end when so many epochs are over. 0: never.", AT_LEAST_0)
    mixup_group_size: int | None = setting(
        None,
        "Images that share one draw of mixup: the batch per device of whoever published the recipe, on any number of "
        "devices. Unset: all of a step.",
        AT_LEAST_1,
        Range("even: images mix in pairs", lambda size: size % 2 == 0),
    )
    image_mean: list[float] = setting([0.485, 0.456, 0.406], "Mean of each channel, for pixels in [0, 1].")
    image_std: list[float] = setting(
        [0.229, 0.224, 0.225], "Standard deviation of each channel, for pixels in [0, 1]."
    )

    # Model
    model_name_or_path: str | None = setting(
        None,
        "Weights to start from: a folder or an id on the Hub (of this library, timm or transformers), timm:NAME, or a "
        "file. The classifier is kept if the classes are the same, and new otherwise. Unset: from scratch.",
    )
    config_overrides: dict[str, Any] | None = setting(
        None, "Fields of ResNet50Config that differ from its defaults, e.g. '{stem_type: cifar}'."
    )
    sync_batch_norm: bool = setting(False, "BatchNorm over the images of all processes instead of each one's own.")
    freeze_batch_norm: bool = setting(
        False, "Keep BatchNorm's statistics as they are, as for small batches in fine-tuning."
    )
    freeze_stages: Literal["stem", "stage1", "stage2", "stage3", "stage4", "backbone"] | None = setting(
        None,
        "Keep the network as it is, BatchNorm's statistics too, from the stem up to and with this stage; backbone: "
        "all but the classifier.",
    )
    unfreeze_epochs: list[int] | None = setting(
        None,
        "After so many epochs, the topmost frozen stage learns again: one number for each, [2, 4, 4]: one after 2 "
        "epochs, the next two after 4. Unset: never.",
        Range(
            "epochs that do not fall, from 1 on",
            lambda epochs: min(epochs, default=0) >= 1 and sorted(epochs) == epochs,
        ),
    )

    # Optimisation
    num_train_epochs: int = setting(90, "Passes over the training images.", AT_LEAST_1)
    max_hours: float | None = setting(
        None,
        "Only so many epochs as fit into these hours of training, validation and saving, by the time of the second "
        "one; the schedule is that of so many then. Unset: all of num_train_epochs.",
        POSITIVE,
    )
    early_stopping_patience: int | None = setting(
        None,
        "End the run when metric_for_best_model has not become better in so many epochs. Unset or 0: never.",
        AT_LEAST_0,
    )
    early_stopping_threshold: float = setting(
        0.0, "For early_stopping_patience: better is what differs from the best by more than this.", AT_LEAST_0
    )
    total_train_batch_size: int = setting(
        256, "Images per optimizer step, over all processes and accumulation steps together.", AT_LEAST_1
    )
    optim: str = setting("sgd", "sgd, or any optimizer that timm creates, by name: lamb, lars, adamw, ….")
    momentum: float = setting(0.9, "Momentum of SGD and its kin.", BELOW_1)
    nesterov: bool = setting(False, "Nesterov's momentum, for sgd.")
    optim_args: dict[str, Any] | None = setting(
        None, "Further arguments of the optimizer, e.g. '{betas: [0.9, 0.99]}'."
    )
    weight_decay: float = setting(1e-4, "L2 penalty, or decoupled decay where the optimizer has that.", AT_LEAST_0)
    weight_decay_on: Literal["all", "all_but_norm", "all_but_norm_and_bias"] = setting(
        "all", "Parameters that decay: all; without BatchNorm's; or also without the classifier's bias."
    )
    gradient_compression: Literal["fp16", "bf16"] | None = setting(
        None, "Gradients cross the network between processes in 16 bits. For machines that wait for their network."
    )
    max_grad_norm: float | None = setting(None, "Clip the norm of the gradient. Unset: off.", AT_LEAST_0)
    learning_rate: float = setting(0.1, "Peak learning rate, reached at the end of warm-up.", AT_LEAST_0)
    layer_decay: float | None = setting(
        None,
        "Learning rate of each block, as a share of that of the block above it. The classifier has all of it, the "
        "stem least.",
        Range("in (0, 1]", lambda share: 0 < share <= 1),
    )
    head_learning_rate_factor: float = setting(1.0, "Of the classifier's learning rate.", POSITIVE)
    lr_scheduler_type: Literal[
        "cosine",
        "linear",
        "polynomial",
        "step",
        "one_cycle",
        "constant",
        "warmup_stable_decay",
        "reduce_lr_on_plateau",
    ] = setting(
        "cosine",
        "Course of the learning rate after warm-up. In one_cycle the warm-up is a part of it; warmup_stable_decay "
        "stays at its peak until lr_decay_share is left; reduce_lr_on_plateau falls when metric_for_best_model stands "
        "still.",
    )
    lr_scheduler_interval: Literal["step", "epoch"] = setting(
        "step", "Whether it moves at every step or, as in torchvision's and timm's scripts, once per epoch."
    )
    warmup_epochs: float = setting(5.0, "Epochs of linear warm-up to learning_rate.", AT_LEAST_0)
    warmup_start_factor: float | None = setting(
        None,
        "Warm-up starts at this share of learning_rate. Unset: the first of n steps is at 1/n, the last at 1.",
        AT_LEAST_0,
    )
    warmup_replaces_schedule: bool = setting(
        False, "The course after warm-up starts where it would be without one, as in timm, instead of from its start."
    )
    min_learning_rate: float = setting(
        0.0,
        "Where cosine, linear, polynomial and warmup_stable_decay end, and reduce_lr_on_plateau falls no further.",
        AT_LEAST_0,
    )
    cooldown_epochs: float = setting(
        0.0,
        "The last so many of num_train_epochs stay where the course of the learning rate ends, before them.",
        AT_LEAST_0,
    )
    lr_power: float = setting(2.0, "Power of polynomial.", AT_LEAST_0)
    lr_step_epochs: list[float] = setting([30.0, 60.0], "For step: epochs after which the learning rate falls.")
    lr_step_factor: float = setting(0.1, "For step and reduce_lr_on_plateau: by this factor.", AT_LEAST_0)
    lr_decay_share: float = setting(
        0.2, "For warmup_stable_decay: the last so much of num_train_epochs, in which it falls.", SHARE
    )
    lr_decay_type: Literal["cosine", "linear", "1-sqrt"] = setting(
        "cosine", "For warmup_stable_decay: along which curve it falls, as transformers names them."
    )
    lr_plateau_patience: int = setting(
        10,
        "For reduce_lr_on_plateau: so many epochs without a better metric are borne, as by PyTorch's "
        "ReduceLROnPlateau; after one more it falls.",
        AT_LEAST_0,
    )
    lr_plateau_threshold: float = setting(
        1e-4, "For reduce_lr_on_plateau: better is what differs by more than this share of the best.", AT_LEAST_0
    )
    seed: int = setting(
        42,
        "Decides initial weights, order of the images and their augmentation.",
        AT_LEAST_0,
        Range("below 4,294,967,296, for NumPy", lambda seed: seed < 2**32),
    )

    # Loss
    loss: Literal["cross_entropy", "bce"] = setting(
        "cross_entropy", "bce: binary cross-entropy of each class, as in ResNet strikes back."
    )
    label_smoothing_factor: float = setting(0.0, "Share of the target that is spread over all classes.", BELOW_1)
    class_weights: list[float] | dict[str, float] | str = setting(
        "none",
        "Weights of the classes in the loss. balanced: as scikit-learn's compute_class_weight; effective: by the "
        "effective number of images (Cui et al. 2019). Their scale does not matter: the mean over the training images "
        "is made 1.",
        _WEIGHTS,
    )
    effective_number_beta: float = setting(
        0.999, "For class_weights effective: n images count as (1 - beta**n) / (1 - beta).", BELOW_1
    )
    focal_gamma: float = setting(
        0.0,
        "Focal loss (Lin et al. 2017): images the model is sure of count less, by (1 - p)**gamma. 0: off.",
        Range("0, or at least 1", lambda gamma: gamma == 0 or 1 <= gamma < math.inf),
    )
    bce_target_threshold: float | None = setting(
        None, "For bce: mixed targets above this are 1, others 0. Unset: they stay soft.", BELOW_1
    )
    teacher: list[str] | str | None = setting(
        None,
        "Distil from this classifier of the same classes, a folder or an id on the Hub (timm's too), or timm:NAME. Of "
        "several, the mean of their probabilities.",
    )
    teacher_image_size: int | None = setting(
        None, "The teacher sees the student's images resized to this side, in pixels. Unset: as they are.", AT_LEAST_1
    )
    distillation_loss: Literal["kl", "reverse_kl", "hard", "dkd"] = setting(
        "kl",
        "Divergence of the student from the teacher; of the teacher from the student; cross-entropy with the class "
        "that the teacher names; or DKD, the first one split into the labelled class and the others.",
    )
    distillation_alpha: float = setting(0.5, "Weight of the teacher in the loss.", AT_LEAST_0)
    task_loss_weight: float | None = setting(
        None, "Weight of the labels in the loss, beside a teacher. Unset: 1 - distillation_alpha.", AT_LEAST_0
    )
    distillation_temperature: float = setting(1.0, "Softens the outputs of both.", POSITIVE)
    distillation_temperature_scaling: bool = setting(
        True, "Times temperature², which keeps the size of the gradient (Hinton et al. 2015), or not."
    )
    dkd_alpha: float = setting(1.0, "For dkd: weight of the labelled class against the others.", AT_LEAST_0)
    dkd_beta: float = setting(2.0, "For dkd: weight of the others among themselves.", AT_LEAST_0)

    # Averaged weights
    ema_decay: float | None = setting(
        None, "Exponential moving average of the weights, with this decay. Unset: off.", BELOW_1
    )
    ema_every_steps: int = setting(1, "Update it every so many optimizer steps.", AT_LEAST_1)
    ema_warmup: bool = setting(False, "Start with a small decay that grows, by timm's formula.")
    ema_start_epoch: int = setting(
        0, "Until so many epochs are over, the average is a copy of the weights.", AT_LEAST_0
    )
    swa_start_epoch: int | None = setting(
        None, "Stochastic weight averaging: mean of the weights after each epoch from this one on. Unset: off."
    )
    batch_norm_recalibration_steps: int = setting(
        0, "Measure BatchNorm's statistics anew, on so many batches, for averaged weights. SWA needs some.", AT_LEAST_0
    )

    # Evaluation
    eval_flip: bool = setting(False, "Test-time augmentation: mean of the logits of each image and its mirror image.")
    metric_for_best_model: Literal[
        "val_top1",
        "val_top5",
        "val_loss",
        "val_balanced_accuracy",
        "val_cohen_kappa",
        "val_macro_precision",
        "val_macro_recall",
        "val_macro_f1",
        "val_weighted_precision",
        "val_weighted_recall",
        "val_weighted_f1",
    ] = setting(
        "val_top1",
        "Which metric decides what best/ holds. Of losses, the lowest is best. "
        "Areas under curves need all scores: resnet50 evaluate has them.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.teacher, list) and len(self.teacher) < 2:  # as the command line has a single one
            self.teacher = self.teacher[0] if self.teacher else None
        self._check_channels()
        self._check_epochs()
        self._check_distillation()
        self._check_what_goes_together()

    def _check_channels(self) -> None:
        if self.num_channels not in (1, 3, 4):
            raise UserError(
                f"config_overrides: num_channels must be 1 (grey), 3 (RGB) or 4 (RGBA), got {self.num_channels}"
            )
        for name in ("image_mean", "image_std"):
            fits = len(getattr(self, name)) == self.num_channels
            self._require(name, fits, f"needs one number for each channel ({self.num_channels})")
        self._require("image_std", min(self.image_std) > 0, "must be positive")
        if self.num_channels == 4 and (self.color_jitter or self.auto_augment != "none"):
            raise UserError("color_jitter and auto_augment are for images of 1 or 3 channels, and these have 4")

    def _check_epochs(self) -> None:
        epochs = self.num_train_epochs
        self._require(
            "warmup_epochs",
            self.warmup_epochs <= epochs,
            f"must not be longer than the training (num_train_epochs is {epochs})",
        )
        self._require(
            "cooldown_epochs",
            self.warmup_epochs + self.cooldown_epochs <= epochs,
            f"and warmup_epochs must fit into the training (num_train_epochs is {epochs})",
        )
        if self.cooldown_epochs and self.lr_scheduler_type == "one_cycle":
            raise UserError("one_cycle ends where it ends: leave cooldown_epochs out")
        if self.lr_scheduler_type == "warmup_stable_decay":
            self._require(
                "lr_decay_share",
                self.warmup_epochs + self.lr_decay_share * epochs + self.cooldown_epochs <= epochs + 1e-9,
                f"of {epochs} epochs, warmup_epochs and cooldown_epochs must fit into them",
            )
        if self.lr_scheduler_type == "reduce_lr_on_plateau":
            self._require("lr_step_factor", self.lr_step_factor < 1, "must be below 1 for reduce_lr_on_plateau")
        if self.early_stopping_threshold and not self.early_stopping_patience:
            raise UserError(
                "early_stopping_threshold says what is better for early_stopping_patience, which is off: give both"
            )
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

    def _check_distillation(self) -> None:
        if self.task_loss_weight is None:
            self._require(
                "distillation_alpha", self.distillation_alpha <= 1, "must be in [0, 1], or task_loss_weight be given"
            )
        for name in ("teacher_image_size", "task_loss_weight"):
            if getattr(self, name) is not None and not self.teachers:
                raise UserError(f"{name} is about a teacher, and there is none: give --teacher, or leave it out")

    def _check_what_goes_together(self) -> None:
        for argument, name in {"lr": "learning_rate", "weight_decay": "weight_decay", "momentum": "momentum"}.items():
            if argument in (self.optim_args or {}):
                raise UserError(f"optim_args: {argument} is the recipe's own field {name}: give it there")
        if self.bce_target_threshold is not None and self.loss != "bce":
            raise UserError(
                "bce_target_threshold has no meaning for loss cross_entropy: leave it out, or give --loss bce"
            )
        if self.ema_decay is not None and self.swa_start_epoch is not None:
            raise UserError("ema_decay and swa_start_epoch are two ways to average the weights: choose one")
        if self.swa_start_epoch is not None and not (self.batch_norm_recalibration_steps or self.keeps_batch_norm):
            raise UserError(
                "swa_start_epoch needs --batch_norm_recalibration_steps 100 or so: averaged weights have no BatchNorm "
                "statistics of their own"
            )
        if self.mixup_off_epoch and not self.mixes:
            raise UserError("mixup_off_epoch ends what was never on: set mixup_alpha or cutmix_alpha, or leave it out")
        self._check_sampling()
        self._check_repeating()
        self._check_freezing()
        if self.streaming and self.augmentation_repeats > 1:
            raise UserError("augmentation_repeats needs images at hand, which streaming has not: set one of them off")

    def _check_sampling(self) -> None:
        if self.sampling == "uniform":
            return
        if self.streaming:
            raise UserError(
                f"sampling {self.sampling} needs images at hand, which streaming has not: class_weights do without"
            )
        if self.augmentation_repeats > 1:
            raise UserError(
                f"sampling {self.sampling} repeats images by itself, and augmentation_repeats too: leave one out"
            )
        if self.class_weights != "none":
            raise UserError(
                f"sampling {self.sampling} and class_weights would even out the classes twice: leave one of them out"
            )

    def _check_repeating(self) -> None:
        if self.distinct_epochs is None or self.distinct_epochs >= self.num_train_epochs:
            return
        for name in ("image_size_ramp", "mixup_off_epoch"):
            if getattr(self, name):
                raise UserError(
                    f"distinct_epochs repeats epochs as they were, and {name} changes them on the way: leave one of "
                    "them out"
                )

    def _check_freezing(self) -> None:
        if self.freeze_batch_norm and self.batch_norm_recalibration_steps:
            raise UserError(
                "batch_norm_recalibration_steps measures BatchNorm's statistics anew, which freeze_batch_norm keeps: "
                "leave one of them out"
            )
        if self.freeze_stages is None:
            if self.unfreeze_epochs:
                raise UserError("unfreeze_epochs frees what freeze_stages holds, and that is unset: give both")
            return
        if self.model_name_or_path is None:
            raise UserError(
                "freeze_stages keeps weights as they are, and from scratch there are none worth it: give "
                "--model_name_or_path"
            )
        if self.batch_norm_recalibration_steps:
            raise UserError(
                "batch_norm_recalibration_steps measures BatchNorm's statistics anew, which freeze_stages keeps: "
                "leave one of them out"
            )
        if self.unfreeze_epochs:
            epochs = self.num_train_epochs
            self._require(
                "unfreeze_epochs", self.unfreeze_epochs[-1] < epochs, f"must lie before the last of {epochs}"
            )

    @property
    def teachers(self) -> list[str]:
        """The names in `teacher`."""
        return [self.teacher] if isinstance(self.teacher, str) else self.teacher or []

    def draws_of(self, epoch: int) -> int:
        """
        The epoch whose images, order, crops and mixes an epoch has: itself, unless `distinct_epochs` repeats some.

        Args:
            epoch: counted from 1.
        """
        return epoch if self.distinct_epochs is None else (epoch - 1) % self.distinct_epochs + 1

    @property
    def drawn_epochs(self) -> int:
        """How many epochs differ from all before."""
        return min(self.distinct_epochs or self.num_train_epochs, self.num_train_epochs)

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed with each other, so that targets are soft."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    @property
    def keeps_batch_norm(self) -> bool:
        """Whether no BatchNorm ever measures statistics in training."""
        return self.freeze_batch_norm or (self.freeze_stages == "backbone" and not self.unfreeze_epochs)

    @property
    def averages(self) -> bool:
        """Whether there is an average of the weights beside them."""
        return self.ema_decay is not None or self.swa_start_epoch is not None

    @property
    def begins_later(self) -> dict[str, float]:
        """What changes how it trains only after some epochs, by field: so many."""
        found = {
            "warmup_epochs": self.warmup_epochs,
            "image_size_ramp": (self.image_size_ramp or [0])[-1],
            "mixup_off_epoch": self.mixup_off_epoch,
            "unfreeze_epochs": (self.unfreeze_epochs or [0])[-1],
            "ema_start_epoch": self.ema_start_epoch if self.ema_decay is not None else 0,
            "swa_start_epoch": (self.swa_start_epoch or 1) - 1,
        }
        return {name: epochs for name, epochs in found.items() if epochs}

    @property
    def greater_is_better(self) -> bool:
        """Of `metric_for_best_model`."""
        return not self.metric_for_best_model.endswith("loss")

    @property
    def num_channels(self) -> int:
        """Of the images, as the network takes them."""
        return (self.config_overrides or {}).get("num_channels", 3)

    def score(self, row: dict[str, Any], weights: Weights) -> float:
        """
        `metric_for_best_model` in their row of metrics.jsonl, so that more is better; -inf if it is not finite, or not
        there, as in rows of earlier versions.
        """
        value = row.get(weights.column(self.metric_for_best_model), math.nan)
        if not math.isfinite(value):
            return -math.inf
        return value if self.greater_is_better else -value

    def best_of(self, history: list[dict[str, Any]]) -> tuple[float, Weights]:
        """
        The best of all weights that were evaluated, and their `score`. Of equals, the first. -inf and epoch 0 if there
        are none.

        Args:
            history: rows of metrics.jsonl.
        """
        candidates = [(row, Weights(row["epoch"], averaged)) for row in history for averaged in (False, True)]
        scores = [(self.score(row, each), each) for row, each in candidates if each.column("val_loss") in row]
        return max(scores, key=lambda found: found[0], default=(-math.inf, Weights(0)))

    def changes_since(self, saved: dict[str, Any]) -> list[str]:
        """
        What decides the result and was otherwise in a saved recipe: "learning_rate: 0.1 -> 0.2".

        Args:
            saved: its fields, and any options of its run; those it lacks had their defaults.
        """
        before = _defaults() | saved
        changed = [field.name for field in fields(Recipe) if getattr(self, field.name) != before[field.name]]
        return [f"{name}: {before[name]} -> {getattr(self, name)}" for name in changed]

    def public_dict(self) -> dict[str, Any]:
        """The fields that are fit to be published, without a path of this machine's folders."""
        settings = {field.name: getattr(self, field.name) for field in fields(self) if not field.metadata["private"]}
        for name in ("dataset_name", "model_name_or_path", "teacher"):
            match settings[name]:
                case str() as place:
                    settings[name] = _without_folders(place)
                case list() as places:
                    settings[name] = [_without_folders(place) for place in places]
        return settings

    def flat_dict(self) -> dict[str, int | float | str]:
        """The fields as trackers take them: numbers and strings."""
        return {name: v if isinstance(v, (int, float)) else str(v) for name, v in self.public_dict().items()}


@cache
def _defaults() -> dict[str, Any]:
    return asdict(Recipe())


def _without_folders(place: str) -> str:
    """A name on the Hub as it is; of a path on this machine, its last part."""
    path = Path(place).expanduser()
    return path.resolve().name if path.exists() or path.is_absolute() else place
