"""
Train a ResNet-50, from recipe to a model anyone can load.

    accelerate launch train.py --config recipes/digits.yaml [--any_field value]

Everything that decides the result is in the recipe; the machine is accelerate's configuration.
"""

import os
import sys
from functools import partial
from pathlib import Path

import datasets
import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import set_seed

from modeling_resnet50.architecture import model_config
from modeling_resnet50.data.pipeline import load_training_data
from modeling_resnet50.data.sources import open_train_and_validation
from modeling_resnet50.evaluation.evaluate import evaluate_model
from modeling_resnet50.hub.model_folder import renew_card, save_model
from modeling_resnet50.hub.pretrained import load_teacher, starting_model
from modeling_resnet50.hub.publishing import Publisher, fetch_backup
from modeling_resnet50.training.averaging import create_average, freeze_batch_norm, recalibrate_batch_norm
from modeling_resnet50.training.checkpoint import CheckpointWriter, Progress, TrainingState
from modeling_resnet50.training.console import TrainingConsole
from modeling_resnet50.training.distributed import (
    broadcast_buffers,
    check_images_fit,
    create_accelerator,
    num_data_workers,
    synchronize_batch_norm,
)
from modeling_resnet50.training.environment import describe_environment
from modeling_resnet50.training.kernels import compiled_for_training
from modeling_resnet50.training.losses import Criterion, Teacher, Teachers
from modeling_resnet50.training.model_writer import ModelWriter
from modeling_resnet50.training.numerics import NumericsGuard, is_finite
from modeling_resnet50.training.optimization import create_optimizer, learning_rate_schedule, set_learning_rate
from modeling_resnet50.training.profiling import ProfiledSteps
from modeling_resnet50.training.run_folder import RunFolder
from modeling_resnet50.training.supervision import Agreed, Supervisor, TrainingStopped
from modeling_resnet50.training.tracking import Tracker
from resnet50_recipe.errors import UserError, user_errors_exit_cleanly
from resnet50_recipe.exit_codes import ExitCode
from resnet50_recipe.recipe import Recipe
from resnet50_recipe.recipe_file import parse_recipe


def main() -> None:
    # What is to be done, and where: everything that can be wrong is found before anything is written.
    recipe = parse_recipe()
    model_config(recipe)
    run = RunFolder(recipe)
    with run.held() as killed:  # nobody else trains in it meanwhile
        start(recipe, run, killed)


def start(recipe: Recipe, run: RunFolder, killed: str | None) -> None:
    run.check_free(recipe)
    recipe, fitted = fit_to_data(recipe)
    recipe = fetch_backup(recipe, run)
    checkpoint, remarks = run.checkpoint_to_resume(recipe)
    accelerator = create_accelerator(recipe)
    recipe.local_batch_size(accelerator.num_processes)
    console = TrainingConsole(accelerator.is_main_process, recipe.num_train_epochs, recipe.averages)
    run.report = console.print
    for remark in [*([killed] if killed else []), *fitted, *remarks]:
        console.print(remark)
    publisher = Publisher(recipe, run, accelerator.is_main_process, console.print)
    publisher.check_access()
    transformers.utils.logging.disable_progress_bar()
    if not console.console.is_terminal:
        datasets.disable_progress_bars()

    progress = Progress()
    tracker = Tracker(accelerator, recipe, run, progress, console.print)
    profiler = ProfiledSteps(recipe, run, accelerator, progress, console.print)
    with publisher, tracker, Supervisor(accelerator, run, recipe, progress) as supervisor, profiler:
        try:
            train(recipe, run, checkpoint, accelerator, console, tracker, progress, supervisor, publisher, profiler)
        except TrainingStopped as stopped:
            console.print(
                f"stopped ({stopped.reason}). Go on by the same command with --resume_from_checkpoint latest"
            )
            raise
    accelerator.end_training()
    if not publisher.everything_is_sent:
        sys.exit(ExitCode.NOT_PUBLISHED)


def fit_to_data(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """The recipe with a batch that fits the data, where it asks for that, and what there is to say about it."""
    if not recipe.fit_batch_to_data:
        return recipe, []
    images, _ = open_train_and_validation(recipe, note=lambda text: None)  # said when they are loaded to train
    size = recipe.fitting_batch_size(len(images), int(os.environ.get("WORLD_SIZE", 1)))
    if size == recipe.total_train_batch_size:
        return recipe, []
    flag = f"--total_train_batch_size {size}"
    said = f"for {len(images)} training images: {flag} instead of {recipe.total_train_batch_size} (fit_batch_to_data)"
    return parse_recipe([*sys.argv[1:], *flag.split()]), [said]


def train(
    recipe: Recipe,
    run: RunFolder,
    checkpoint: Path | None,
    accelerator: Accelerator,
    console: TrainingConsole,
    tracker: Tracker,
    progress: Progress,
    supervisor: Supervisor,
    publisher: Publisher,
    profiler: ProfiledSteps,
) -> None:
    # Data
    with accelerator.main_process_first():
        data = load_training_data(
            recipe, accelerator.device, num_data_workers(recipe), accelerator.process_index, accelerator.num_processes
        )
    sampler = data.train_loader.sampler
    data.train_loader.on_batch = data.validation_loader.on_batch = supervisor.batch_done

    # Model, optimizer, schedule
    set_seed(recipe.seed)
    model = starting_model(recipe, data.label_names)
    check_images_fit(model, recipe, recipe.local_batch_size(accelerator.num_processes), accelerator.num_processes)
    model.to(accelerator.device, memory_format=torch.channels_last)
    if recipe.gradient_checkpointing:
        # Renamed between transformers 5.17 and 5.23.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    if recipe.sync_batch_norm:
        model = synchronize_batch_norm(model)
    optimizer = create_optimizer(model, recipe)
    average = create_average(model, recipe)
    teacher = None
    if recipe.teachers:
        loaded = [load_teacher(name) for name in recipe.teachers]
        teacher = Teachers([Teacher(*one, recipe, len(data.label_names)) for one in loaded])
        teacher.to(accelerator.device).to(memory_format=torch.channels_last)
    criterion = Criterion(recipe, teacher, accelerator.autocast)
    model, optimizer = accelerator.prepare(model, optimizer)
    plain_model = accelerator.unwrap_model(model)
    forward = compiled_for_training(model, criterion, recipe)
    steps_per_epoch = len(sampler) // recipe.gradient_accumulation_steps
    lr_at = learning_rate_schedule(recipe, steps_per_epoch)

    # The run folder: a new run, or back to where the old one stood
    state = TrainingState(accelerator, model, optimizer, average, progress)

    def save(folder: Path, model: transformers.PreTrainedModel, epoch: int, prefix: str = "") -> None:
        save_model(folder, model, recipe, run.history(), run.sessions(), epoch, prefix)

    checkpoints = CheckpointWriter(run, recipe, state, console.print, on_written=publisher.back_up)
    models = ModelWriter(run, save, console.print)
    supervisor.at_the_end += [checkpoints.close, models.close]
    guard = NumericsGuard(accelerator, plain_model, optimizer, recipe, len(data.label_names), run, progress)
    if checkpoint is not None:
        differences = state.load(checkpoint, keep_optimizer_settings=recipe.allow_recipe_change)
        within = f", {progress.images:,} images of the next" if progress.images else ""
        console.print(f"resumed from {checkpoint}: {progress.epoch} epochs{within}, {progress.step} steps done")
        if differences:
            console.print(f"now {', '.join(differences)}; images, steps and learning rates stay the same")
        accelerator.wait_for_everyone()
    environment = describe_environment(accelerator, data.num_train_images, data.num_validation_images)
    if accelerator.is_main_process:
        run.resume(recipe, checkpoint, progress.epoch) if checkpoint is not None else run.begin(recipe)
        run.add_session(environment, first_epoch=progress.epoch + 1)
    accelerator.wait_for_everyone()
    supervisor.run_begins()
    tracker.begin(data.label_names, resumed=checkpoint is not None)
    console.start(recipe, run, environment, plain_model, steps_per_epoch)

    def count_step() -> None:
        """What follows from the last step of the optimizer, which fp16 may have skipped."""
        if guard.step_was_taken():
            progress.step += 1
            if average is not None:
                average.after_step(plain_model, guard.buffers_of(plain_model), progress.step, epoch)
            tracker.step(metrics, learning_rate)

    profiler.begin(guard, optimizer)
    while progress.epoch < recipe.num_train_epochs:
        epoch = progress.epoch + 1
        sampler.start(epoch, progress.images, progress.left_out_of(epoch), progress.layout)
        progress.layout = sampler.layout
        metrics = state.epoch_metrics()
        agreed = Agreed()

        # Train
        model.train()
        if recipe.freeze_batch_norm:
            freeze_batch_norm(model)
        with console.epoch(epoch, len(sampler), sampler.batches_done):
            for batch in tracker.batches(data.train_loader, metrics):
                with accelerator.accumulate(model):
                    guard.before_forward()
                    logits = forward(batch["pixel_values"]).logits
                    loss = criterion(logits, batch)
                    guard.after_forward(loss, batch["indices"])
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        if guard.step_is_open:
                            count_step()
                        learning_rate = lr_at(progress.step)
                        set_learning_rate(optimizer, learning_rate)
                        trouble = guard.trouble()
                        agreed = supervisor.agree(trouble=trouble is not None, checkpoint=checkpoints.is_wanted())
                        if agreed.trouble:
                            break
                        tracker.before_step(plain_model)
                        if recipe.max_grad_norm is not None:
                            accelerator.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
                    optimizer.step()
                    optimizer.zero_grad()
                metrics.update(loss, logits, batch["labels"], len(data.train_loader.bad_images))
                console.advance(metrics, optimizer.param_groups[0]["lr"])
                if accelerator.sync_gradients:
                    guard.step_ended()
                    progress.images = sampler.images_after(batch["number"])
                    due = recipe.checkpoint_is_due(progress.images, epoch, sampler.images_per_epoch)
                    due |= agreed.checkpoint or agreed.stop is not None
                    if due or not guard.outcome_is_late or tracker.is_told_of(progress.step + 1):
                        count_step()  # otherwise when the device has the next step to work on
                    if due:
                        checkpoints.save()
                    if agreed.stop:
                        checkpoints.finish()
                        raise TrainingStopped(agreed.stop)
                    profiler.step()
            if guard.step_is_open:
                count_step()

        # Numbers that went wrong: stop, or go back and leave out what did it
        if agreed.trouble:
            console.print(guard.roll_back(trouble, learning_rate))
            checkpoint = checkpoints.newest()
            state.load(checkpoint)
            optimizer.zero_grad()
            guard.forget()
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                run.resume(recipe, checkpoint, progress.epoch)
            console.print(f"back to {checkpoint}; {len(progress.left_out)} steps are left out")
            continue
        train_results = metrics.compute()
        progress.images, progress.layout = 0, None

        # Evaluate the weights, and their average
        candidates = {"": plain_model}
        if average is not None:
            average.after_epoch(plain_model, epoch)
            if average.has_begun:
                candidates["average_"] = average.module
                if recipe.batch_norm_recalibration_steps:
                    sampler.start(0)  # an epoch that is never trained on
                    recalibrate_batch_norm(
                        average.module, data.train_loader, recipe.batch_norm_recalibration_steps, accelerator
                    )
        results: dict[str, float] = {}
        for prefix, candidate in candidates.items():
            broadcast_buffers(candidate)
            validated = evaluate_model(candidate, data.validation_loader, accelerator, flip=recipe.eval_flip)
            results |= {f"{prefix}{name}": value for name, value in validated.items()}
        progress.epoch = epoch
        row = {
            "epoch": epoch,
            "step": progress.step,
            **train_results,
            **results,
            "learning_rate": lr_at(max(progress.step - 1, 0)),
            "skipped_steps": progress.skipped_steps,
            "left_out_steps": len(progress.left_out),
        }

        # Save
        if accelerator.is_main_process:
            row["seconds"] = run.seconds() + metrics.seconds_of_epoch()
            scores = {prefix: recipe.score(row, prefix) for prefix in candidates}
            better = max(scores, key=scores.__getitem__)
            is_best = scores[better] > models.best_score(recipe) and is_finite(candidates[better])
            run.log(row)
            if is_best:
                models.write(run.best, candidates[better], epoch, better, then=publisher.best_is_new)
            console.row(row, is_best)
        tracker.epoch(row)
        if epoch % recipe.checkpoint_every_epochs == 0 or epoch == recipe.num_train_epochs:
            # First what is published: whoever is killed in between does this epoch again, and nothing is missed.
            publisher.checkpoint(epoch, partial(save, model=plain_model, epoch=epoch))
            checkpoints.save()
        publisher.look()

    if accelerator.is_main_process:
        checkpoints.wait()
        finals = {"": (run.final, plain_model)}
        if average is not None and average.has_begun:
            finals["average_"] = (run.final_average, average.module)
        for prefix, (path, candidate) in finals.items():
            if not is_finite(candidate):
                raise UserError(f"{path} was not written: some weights are not finite. best/ is from before that")
            models.write(path, candidate, progress.epoch, prefix)
        models.finish()
        _, epoch, prefix = run.best_model(recipe)
        if 0 < epoch < progress.epoch and run.wrote(run.best, until=epoch):
            renew_card(run.best, plain_model, recipe, run.history(), run.sessions(), epoch, prefix)
        publisher.final_is_there()
        console.finish(recipe, run)


if __name__ == "__main__":
    try:
        with user_errors_exit_cleanly():
            main()
    except KeyboardInterrupt:
        print("stopped at once", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)
