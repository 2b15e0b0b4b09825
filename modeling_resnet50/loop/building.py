"""From a recipe to what learns by it."""

from functools import partial
from pathlib import Path

import torch
from accelerate.utils import set_seed

from resnet50_recipe.recipe import Recipe

from ..data.pipeline import TrainingData
from ..hub.pretrained import load_teacher, starting_model
from ..training.averaging import create_average
from ..training.distributed import check_images_fit, synchronize_batch_norm
from ..training.kernels import compiled_for_training
from ..training.losses import Criterion, Teacher, Teachers
from ..training.metrics import TrainMetrics
from ..training.numerics import NumericsGuard
from ..training.optimization import create_optimizer, learning_rate_schedule
from ..training.stages import freeze_for_good
from ..training.teacher_cache import TeacherCache, cache_bytes, made_for, require_room
from ..training.uneven import class_weights
from .learner import Learner
from .run import Run


def create_learner(run: Run, data: TrainingData) -> Learner:
    """
    The learner of a recipe, as it is before its first step.

    Raises:
        UserError: weights, teacher, optimizer or class weights that are not there or do not fit, or images that are
            too small.
    """
    recipe, accelerator = run.recipe, run.accelerator
    num_labels = len(data.label_names)
    set_seed(recipe.seed)
    model = starting_model(recipe, data.label_names)
    check_images_fit(model, recipe, recipe.local_batch_size(accelerator.num_processes), accelerator.num_processes)
    model.to(accelerator.device, memory_format=torch.channels_last)
    if recipe.gradient_checkpointing:
        # Renamed between transformers 5.17 and 5.23.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    if recipe.sync_batch_norm:
        model = synchronize_batch_norm(model)
    freeze_for_good(model, recipe)
    optimizer = create_optimizer(model, recipe)
    average = create_average(model, recipe)
    weights = class_weights(recipe, data.class_counts, data.label_names)
    weights = None if weights is None else weights.to(accelerator.device)
    teachers = _teachers(recipe, num_labels)
    cache = None if teachers is None else _teacher_cache(run, data, teachers)
    if teachers is not None:
        teachers = teachers.to(accelerator.device).to(memory_format=torch.channels_last)
    criterion = Criterion(recipe, teachers, accelerator.autocast, weights, cache)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    module = accelerator.unwrap_model(prepared)
    guard = NumericsGuard(accelerator, module, optimizer, recipe, num_labels, run.folder, run.progress)
    if weights is not None:
        guard.guessing *= weights.max().item()  # a batch may be of the heaviest class alone
    return Learner(
        recipe=recipe,
        accelerator=accelerator,
        model=prepared,
        module=module,
        forward=compiled_for_training(prepared, criterion, recipe),
        criterion=criterion,
        optimizer=optimizer,
        schedule=partial(learning_rate_schedule, recipe, data.steps_per_epoch),
        average=average,
        guard=guard,
        progress=run.progress,
        metrics=TrainMetrics(accelerator),
    )


def _teachers(recipe: Recipe, num_labels: int) -> Teachers | None:
    if not recipe.teachers:
        return None
    loaded = [load_teacher(name) for name in recipe.teachers]
    return Teachers([Teacher(*each, recipe, num_labels) for each in loaded])


def _teacher_cache(run: Run, data: TrainingData, teachers: Teachers) -> TeacherCache | None:
    recipe, loader = run.recipe, data.train_loader
    if recipe.teacher_cache is None:
        return None
    folder, shape = Path(recipe.teacher_cache).expanduser(), (data.num_train_images, len(data.label_names))
    precision = run.accelerator.mixed_precision
    require_room(folder, cache_bytes(recipe, precision, *shape))
    record = made_for(recipe, precision, teachers, {"images": loader.batches.identity(), "classes": shape[1]})
    return TeacherCache(folder, record, loader.sampler.place_of, shape, run.console.print)
