"""What a recipe will do and take, worked out on paper: no data, no GPU, no training."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePath

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForImageClassification

from resnet50_recipe.errors import UserError, in_one_line
from resnet50_recipe.recipe import Recipe
from resnet50_recipe.training_arguments import SMALLEST_FITTING, TrainingArguments
from resnet50_recipe.words import counted

from .architecture import model_config
from .configuration_resnet50 import ResNet50Config
from .data.augmentation import image_size_at
from .data.preprocessing import Preprocessing
from .modeling_resnet50 import ResNet50ForImageClassification
from .training.averaging import first_averaged_step
from .training.distributed import check_images_fit
from .training.memory import activation_bytes, model_bytes, optimizer_states, runtime_bytes
from .training.optimization import learning_rate_schedule
from .training.outlook import PLANNED_SHARE
from .training.shapes import shapes_alone
from .training.stages import freeze_for_good, learning_parameters
from .training.teacher_cache import cache_bytes


@dataclass(frozen=True)
class DataSize:
    """How much there is to learn from."""

    train_images: int
    validation_images: int
    labels: int


KNOWN_DATA = {
    "ILSVRC/imagenet-1k": DataSize(1_281_167, 50_000, 1000),
    "uoft-cs/cifar10": DataSize(50_000, 10_000, 10),
    "data/tiny-imagenet": DataSize(100_000, 10_000, 200),
    "digits": DataSize(1437, 360, 10),
}

# Images per second of one device that trains ResNet-50 at 224 pixels in mixed precision. A100: as measured by NVIDIA
# (DeepLearningExamples, PyTorch, 1 × A100 80GB). The others are that, times the ratio of memory bandwidths (2.04, 3.35
# and 4.8 TB/s), which bound this network.
IMAGES_PER_SECOND = {"A100": 2470.0, "H100": 2470.0 * 3.35 / 2.04, "H200": 2470.0 * 4.8 / 2.04}
DEVICE_MEMORY = {"A100": 80e9, "H100": 80e9, "H200": 141e9}  # bytes
SCALING = 0.84  # of several devices, in the same table: 16,621 images/s on 8
RUNTIME_MEMORY = runtime_bytes("cuda")

# From Goyal et al. (2017): 0.1 at 256 images, in proportion to them.
_RULE = 0.1 / 256
_TOLERANCE = 4
_SIZE_UNIT = 16  # pixels
_LARGE_FOR_ADAM = 0.03  # which Beyer et al. (2022) take


@dataclass(frozen=True)
class Plan:
    """
    Attributes:
        local_batch_size: images that a device takes at once; the next larger whole number if it does not come out.
        steps_per_epoch, total_steps: of the optimizer.
        lr_at: learning rate of an optimizer step.
        image_sizes: of the training images, for each epoch, in pixels.
        image_cost: operations for a training image, its teacher's included, of those of 224 pixels through a
            ResNet-50; mean over all epochs.
        parameters: trainable numbers.
        forward_flops: for one image at `image_size`; a multiplication and an addition are two.
        teacher_flops: for one image, of all teachers that are known here; 0 without.
        unknown_teachers: whose cost is not known here, and not counted.
        teaching: images of 224 pixels through a ResNet-50 that would take as long as the teachers' work, for each
            epoch.
        total_flops: of all training, teachers included; backward counts twice the forward pass.
        reference_images: images of 224 pixels through a ResNet-50 that would take as long, evaluations included.
        model_memory: bytes on a device for weights, gradients, optimizer, average and teachers.
        activation_memory: bytes on a device that the backward pass needs, at the largest size.
        checkpoint_size: bytes of one training state.
        model_size: bytes of one saved model.
        disk: bytes of a whole run folder.
    """

    recipe: TrainingArguments
    data: DataSize
    num_processes: int
    local_batch_size: int
    steps_per_epoch: int
    total_steps: int
    lr_at: Callable[[int], float]
    image_sizes: list[int]
    image_cost: float
    parameters: int
    forward_flops: int
    teacher_flops: int
    unknown_teachers: list[str]
    teaching: list[float]
    total_flops: float
    reference_images: float
    model_memory: int
    activation_memory: int
    checkpoint_size: int
    model_size: int
    disk: int

    @property
    def memory(self) -> float:
        """Bytes on a device."""
        return self.model_memory + self.activation_memory + RUNTIME_MEMORY

    def epochs(self, images_per_second: float) -> int:
        """As many as fit into `max_hours`, with that many on one device."""
        most, within = self.recipe.num_train_epochs, self.recipe.max_hours
        if within is None:
            return most
        return max(1, min(most, math.floor(most * PLANNED_SHARE * within / self.hours(images_per_second))))

    @property
    def cache_size(self) -> int:
        """Bytes of a `teacher_cache` when it is whole; 0 without teachers."""
        recipe, data = self.recipe, self.data
        return cache_bytes(recipe, recipe.mixed_precision, data.train_images, data.labels) if recipe.teachers else 0

    def hours(self, images_per_second: float, images: float | None = None) -> float:
        """With that many on one device, at 224 pixels. `images`: `reference_images` unless they are given."""
        scaling = SCALING if self.num_processes > 1 else 1
        images = self.reference_images if images is None else images
        return images / (images_per_second * self.num_processes * scaling) / 3600


def data_size_of(recipe: Recipe) -> DataSize | None:
    """For data sets that everybody knows, or as many of their images as the recipe wants."""
    known = KNOWN_DATA.get(recipe.dataset_name) or KNOWN_DATA.get(f"data/{PurePath(recipe.dataset_name).name}")
    if known is None:
        return None
    return replace(
        known,
        train_images=min(known.train_images, recipe.max_train_samples or known.train_images),
        validation_images=min(known.validation_images, recipe.max_eval_samples or known.validation_images),
    )


def make_plan(recipe: TrainingArguments, data: DataSize, num_processes: int = 1) -> Plan:
    """
    Raises:
        UserError: fewer images than one batch, images too small for the network or not of the teacher's size, or an
            optimizer or a teacher that does not exist.
    """
    steps_per_epoch = data.train_images // recipe.total_train_batch_size
    recipe.check_fills_a_batch(data.train_images)
    local_batch_size = math.ceil(recipe.total_train_batch_size / (num_processes * recipe.gradient_accumulation_steps))
    image_sizes = [image_size_at(recipe, epoch) for epoch in range(1, recipe.num_train_epochs + 1)]

    model = _model_on_paper(recipe, data.labels)
    check_images_fit(model, recipe, local_batch_size=2)
    parameters = sum(p.numel() for p in model.parameters())
    numbers = parameters + sum(b.numel() for b in model.buffers())
    eval_size = recipe.eval_image_size or recipe.image_size
    channels = recipe.num_channels
    flops = {size: forward_flops(model, size, channels) for size in {*image_sizes, recipe.image_size, eval_size}}
    teachers = {name: teacher_on_paper(name) for name in recipe.teachers}
    known = [model for model in teachers.values() if model is not None]
    taught = {size: _teacher_flops(recipe, known, size) for size in {*image_sizes, recipe.image_size}}
    images_per_epoch = steps_per_epoch * recipe.total_train_batch_size
    teacher_memory = 4 * sum(p.numel() for model in known for p in model.parameters())
    passes = training_passes(model, recipe.image_size)
    lessons = image_sizes[: recipe.drawn_epochs] if recipe.teacher_cache else image_sizes
    flops_per_image = passes * sum(flops[size] for size in image_sizes) + sum(taught[size] for size in lessons)
    train_flops = int(flops_per_image * images_per_epoch)
    looks = (2 if recipe.eval_flip else 1) * (2 if recipe.averages else 1)
    eval_flops = recipe.num_train_epochs * looks * data.validation_images * flops[eval_size]
    reference = forward_flops(_model_on_paper(Recipe(), 1000), 224)

    states = optimizer_states(recipe)
    averages = 1 if recipe.averages else 0
    activation_memory = local_batch_size * activation_bytes(model, max(image_sizes), recipe.mixed_precision)
    model_size = 4 * numbers
    checkpoint_size = int(4 * (numbers * (1 + averages) + learning_parameters(model) * states))
    return Plan(
        recipe=recipe,
        data=data,
        num_processes=num_processes,
        local_batch_size=local_batch_size,
        steps_per_epoch=steps_per_epoch,
        total_steps=steps_per_epoch * recipe.num_train_epochs,
        lr_at=learning_rate_schedule(recipe, steps_per_epoch),
        image_sizes=image_sizes,
        image_cost=train_flops / (3 * reference * images_per_epoch * recipe.num_train_epochs),
        parameters=parameters,
        forward_flops=flops[recipe.image_size],
        teacher_flops=taught[recipe.image_size],
        unknown_teachers=[name for name, model in teachers.items() if model is None],
        teaching=[taught[size] * images_per_epoch / (3 * reference) for size in image_sizes],
        total_flops=train_flops,
        reference_images=(train_flops + eval_flops) / (3 * reference),
        model_memory=int(model_bytes(model, recipe, num_processes)) + teacher_memory,
        activation_memory=activation_memory,
        checkpoint_size=checkpoint_size,
        model_size=model_size,
        disk=(2 + averages) * model_size + len(kept_checkpoints(recipe)) * checkpoint_size,
    )


def kept_checkpoints(recipe: TrainingArguments) -> list[int]:
    """Epochs after which there is a checkpoint, and it is still there at the end."""
    last, every = recipe.num_train_epochs, recipe.checkpoint_every_epochs
    saved = sorted({*range(every, last + 1, every), last})
    if recipe.keep_last is None:
        return saved
    also = recipe.keep_every_epochs
    return [
        epoch for i, epoch in enumerate(saved, 1) if len(saved) - i < recipe.keep_last or (also and epoch % also == 0)
    ]


def complaints(plan: Plan) -> list[str]:
    """What looks wrong, each with what to do about it. The recipes of this project give none."""
    return [*_arithmetic_complaints(plan), *_optimization_complaints(plan), *_machine_complaints(plan)]


def _arithmetic_complaints(plan: Plan) -> list[str]:
    recipe, found = plan.recipe, []
    try:
        recipe.local_batch_size(plan.num_processes)
    except UserError as error:
        found.append(str(error))
    left_out = plan.data.train_images - plan.steps_per_epoch * recipe.total_train_batch_size
    smaller = recipe.total_train_batch_size // 2
    if left_out > 0.05 * plan.data.train_images and not (recipe.fit_batch_to_data and smaller < SMALLEST_FITTING):
        found.append(
            f"{left_out:,} of {plan.data.train_images:,} images are left out of each epoch, which has whole batches "
            f"only: --total_train_batch_size {smaller}, or less, leaves out fewer"
        )
    for name in ("image_size", "image_size_start", "eval_image_size"):
        size = getattr(recipe, name)
        if size is not None and size % _SIZE_UNIT:
            found.append(f"{name} {size} is not a multiple of {_SIZE_UNIT}: padding grows, and GPUs like it less")
    preprocessing = Preprocessing.from_recipe(recipe)
    eval_size = preprocessing.image_size
    if eval_size < recipe.image_size:
        found.append(
            f"images are smaller in validation ({eval_size}) than in training ({recipe.image_size}): random crops "
            "enlarge what is in them, so the best size for validation is larger (FixRes, Touvron et al. 2019)"
        )
    if preprocessing.resize_size > 2 * eval_size:
        found.append(f"eval_crop_ratio {recipe.eval_crop_ratio} leaves only the middle of validation images")
    elif recipe.crop_mode != "center" and preprocessing.resize_size > eval_size:
        found.append(
            f"crop_mode {recipe.crop_mode} is to lose nothing of an image, but eval_crop_ratio "
            f"{recipe.eval_crop_ratio} cuts its margins off: 1.0 keeps them"
        )
    return found


def _optimization_complaints(plan: Plan) -> list[str]:
    recipe, found = plan.recipe, []
    rule = _RULE * recipe.total_train_batch_size
    if recipe.optim in ("sgd", "nesterov", "momentum"):
        ratio = recipe.learning_rate / rule
        from_scratch = recipe.model_name_or_path is None
        if ratio > _TOLERANCE or (from_scratch and ratio < 1 / _TOLERANCE):
            found.append(
                f"learning_rate {recipe.learning_rate:g} is {ratio:.2g} times what the linear rule gives for "
                f"{recipe.total_train_batch_size} images: {rule:.3g} (0.1 at 256; Goyal et al. 2017)"
            )
    elif "adam" in recipe.optim and recipe.learning_rate > _LARGE_FOR_ADAM:
        found.append(f"learning_rate {recipe.learning_rate:g} is large for {recipe.optim}, which takes about 1e-3")
    if recipe.min_learning_rate > recipe.learning_rate:
        found.append("min_learning_rate is above learning_rate: it rises instead of falling")
    if recipe.num_train_epochs > 1 and recipe.warmup_epochs > recipe.num_train_epochs / 3:
        if recipe.lr_scheduler_type != "one_cycle":
            found.append(
                f"warm-up takes {recipe.warmup_epochs:g} of {recipe.num_train_epochs} epochs: more than a third"
            )
    elif recipe.learning_rate > 1 and recipe.warmup_epochs == 0:
        found.append(f"learning_rate {recipe.learning_rate:g} without warm-up is likely to diverge: set warmup_epochs")
    late = [epoch for epoch in recipe.lr_step_epochs if epoch >= recipe.num_train_epochs]
    if recipe.lr_scheduler_type == "step" and late:
        found.append(f"the learning rate would fall after epoch {late[0]:g}, but training ends before")
    if recipe.averages and first_averaged_step(recipe, plan.steps_per_epoch) > plan.total_steps:
        found.append(
            f"the average would begin at step {first_averaged_step(recipe, plan.steps_per_epoch):,}, but there are "
            f"{plan.total_steps:,}: choose a smaller ema_every_steps or ema_start_epoch"
        )
    elif recipe.ema_decay is not None:
        horizon = recipe.ema_every_steps / (1 - recipe.ema_decay)
        if horizon > plan.total_steps / 2 and not recipe.ema_warmup:
            found.append(
                f"ema_decay {recipe.ema_decay:g} averages over {horizon:,.0f} steps, of {plan.total_steps:,}: the "
                "average will not have forgotten the first weights"
            )
    if recipe.mixes and recipe.num_train_epochs < 30:
        found.append(
            f"mixup and CutMix pay off in long training; in {recipe.num_train_epochs} epochs they tend to cost"
        )
    return found


def _machine_complaints(plan: Plan) -> list[str]:
    recipe, found = plan.recipe, []
    if plan.unknown_teachers:
        found.append(
            f"what the teacher {', '.join(plan.unknown_teachers)} costs is not known here, and not counted: it is for "
            "models of timm, and for folders on this disk"
        )
    if plan.local_batch_size < 16 and not (recipe.sync_batch_norm or recipe.keeps_batch_norm):
        parts = plan.num_processes * recipe.gradient_accumulation_steps
        instead = "use fewer devices or accumulation steps, or sync_batch_norm: true"
        if parts == 1:
            keep = (
                "" if recipe.model_name_or_path is None else ", or freeze_batch_norm: true, which keeps the statistics"
            )
            instead = f"use a larger total_train_batch_size{keep}"
        found.append(f"BatchNorm sees {counted(plan.local_batch_size, 'image')} at a time, which is few: {instead}")
    try:
        check_images_fit(_model_on_paper(recipe, 1), recipe, plan.local_batch_size, plan.num_processes)
    except UserError as error:
        found.append(str(error))
    too_small = [name for name, memory in DEVICE_MEMORY.items() if plan.memory > memory]
    if too_small:
        found.append(
            f"{plan.memory / 1e9:.0f} GB do not fit on one {' or '.join(too_small)}: gradient_accumulation_steps, "
            "or gradient_checkpointing: true"
        )
    if recipe.mixed_precision == "no" and plan.reference_images > 10e6:
        found.append("mixed_precision no: fp16 or bf16 would be two to three times as fast on a GPU")
    return found


@lru_cache(maxsize=1024)  # `--budget` plans many recipes, which share a few networks, sizes and teachers
def forward_flops(model: nn.Module, image_size: int, num_channels: int = 3) -> int:
    """Of one image through a model on the meta device; a multiplication and an addition are two."""
    with torch.no_grad(), shapes_alone(model), FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(1, num_channels, image_size, image_size, device="meta"))
    return counter.get_total_flops()


def training_passes(model: ResNet50ForImageClassification, image_size: int) -> float:
    """
    How many forward passes a training step of a model on the meta device is worth: 3, and less where the first stages
    are frozen, which nothing goes back through.
    """
    if learning_parameters(model) == sum(p.numel() for p in model.parameters()):
        return 3
    channels = model.config.num_channels
    batch = torch.empty(2, channels, image_size, image_size, device="meta")
    with shapes_alone(model), FlopCounterMode(display=False) as counter:
        model.train()(batch).logits.sum().backward()
    return counter.get_total_flops() / (2 * forward_flops(model, image_size, channels))


def teacher_on_paper(name: str) -> nn.Module | None:
    """
    The shapes of a teacher without its weights, which are not read: of timm's models by their names, and of folders on
    this disk by their config.json. None of what lies elsewhere: nothing is fetched.

    Raises:
        UserError: timm has no model of that name.
    """
    config = Path(name).expanduser() / "config.json"
    with torch.device("meta"):
        if config.is_file():
            return _model_of_config(config)
        architecture = name.removeprefix("timm:").removeprefix("timm/")
        if architecture == name or ":" in architecture:
            return None
        try:
            return _timm_on_paper(architecture)
        except RuntimeError as error:
            raise UserError(f"the teacher {name}: {error}") from error


@lru_cache(maxsize=32)
def _timm_on_paper(architecture: str) -> nn.Module:
    import timm  # here and below: for teachers alone

    with torch.device("meta"):
        model: nn.Module = timm.create_model(architecture)
    return model


def _model_of_config(config: Path) -> nn.Module:
    try:
        fields = json.loads(config.read_text(encoding="utf-8"))
        if "model_type" in fields:
            return AutoModelForImageClassification.from_config(AutoConfig.from_pretrained(config.parent))
        import timm

        return timm.create_model(fields["architecture"], **fields.get("model_args", {}))
    except (ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{config} describes no classifier of timm or transformers: {error}") from error


def _teacher_flops(recipe: Recipe, models: list[nn.Module], image_size: int) -> int:
    size = recipe.teacher_image_size or image_size
    try:
        return sum(forward_flops(model, size, recipe.num_channels) for model in models)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"the teacher {', '.join(recipe.teachers)} does not take images of {size} pixels: --teacher_image_size "
            f"with what it takes, 224 mostly ({in_one_line(error)})"
        ) from error


def _model_on_paper(recipe: Recipe, labels: int) -> ResNet50ForImageClassification:
    """Shapes without numbers. What never learns is frozen."""
    config = model_config(recipe, [str(label) for label in range(labels)]).to_json_string()
    if recipe.freeze_stages is None:
        return _on_paper(config)
    model = _on_paper.__wrapped__(config)  # one of its own, for only parts of it learn
    freeze_for_good(model, recipe)
    return model


@lru_cache(maxsize=32)
def _on_paper(config: str) -> ResNet50ForImageClassification:
    with torch.device("meta"):
        return ResNet50ForImageClassification(ResNet50Config.from_dict(json.loads(config)))
