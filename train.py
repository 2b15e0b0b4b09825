"""
Train a ResNet-50, from recipe to a model anyone can load.

    accelerate launch train.py --config recipes/digits.yaml [--any_field value]

Everything that decides the result is in the recipe; the machine is accelerate's configuration.
"""

import datasets
import torch
import transformers
from accelerate.utils import set_seed

from modeling_resnet50.data.pipeline import load_training_data
from modeling_resnet50.errors import user_errors_exit_cleanly
from modeling_resnet50.evaluation.evaluate import evaluate_model
from modeling_resnet50.files import replaced_folder
from modeling_resnet50.hub.model_folder import prepare_repository, push_model, save_model
from modeling_resnet50.hub.pretrained import load_teacher, starting_model
from modeling_resnet50.recipe_file import parse_recipe
from modeling_resnet50.training.averaging import create_average, freeze_batch_norm, recalibrate_batch_norm
from modeling_resnet50.training.console import TrainingConsole
from modeling_resnet50.training.distributed import (
    broadcast_buffers,
    create_accelerator,
    num_data_workers,
    synchronize_batch_norm,
)
from modeling_resnet50.training.losses import Criterion, Teacher
from modeling_resnet50.training.metrics import TrainMetrics
from modeling_resnet50.training.optimization import create_optimizer, learning_rate_schedule, set_learning_rate
from modeling_resnet50.training.run_folder import Progress, RunFolder


def main() -> None:
    # What is to be done, and where: everything that can be wrong is found before anything is written.
    recipe = parse_recipe()
    run = RunFolder(recipe)
    run.check_free(recipe)
    checkpoint, passed_over = run.checkpoint_to_resume(recipe)
    accelerator = create_accelerator(recipe)
    batch_size = recipe.local_batch_size(accelerator.num_processes)
    console = TrainingConsole(accelerator.is_main_process, recipe.num_train_epochs, recipe.averages)
    transformers.utils.logging.disable_progress_bar()
    if not console.console.is_terminal:
        datasets.disable_progress_bars()

    # Data
    with accelerator.main_process_first():
        data = load_training_data(
            recipe, accelerator.device, num_data_workers(recipe), accelerator.process_index, accelerator.num_processes
        )

    # Model, optimizer, schedule
    set_seed(recipe.seed)
    model = starting_model(recipe, data.label_names)
    model.to(accelerator.device, memory_format=torch.channels_last)
    if recipe.gradient_checkpointing:
        # Renamed between transformers 5.17 and 5.23.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    if recipe.sync_batch_norm:
        model = synchronize_batch_norm(model)
    optimizer = create_optimizer(model, recipe)
    average = create_average(model, recipe)
    teacher = None
    if recipe.teacher is not None:
        teacher = Teacher(*load_teacher(recipe.teacher), recipe, len(data.label_names)).to(accelerator.device)
    criterion = Criterion(recipe, teacher)
    model, optimizer = accelerator.prepare(model, optimizer)
    lr_at = learning_rate_schedule(recipe, len(data.train_loader) // recipe.gradient_accumulation_steps)

    # The run folder: a new run, or back to where the old one stood
    progress = Progress()
    accelerator.register_for_checkpointing(progress, *([average] if average is not None else []))
    if recipe.push_to_hub and accelerator.is_main_process:
        prepare_repository(recipe.hub_model_id)
    for remark in passed_over:
        console.print(remark)
    if checkpoint is not None:
        accelerator.load_state(str(checkpoint))
        within = f" and {progress.batches} batches" if progress.batches else ""
        console.print(f"resumed from {checkpoint}: {progress.epoch} epochs{within}, {progress.step} steps done")
    if accelerator.is_main_process:
        run.rewind(progress.epoch) if checkpoint is not None else run.begin(recipe)
    accelerator.wait_for_everyone()
    accelerator.init_trackers("resnet50", config=recipe.flat_dict())
    console.print(
        f"{recipe.dataset_name}: {data.num_train_images:,} training and {data.num_validation_images:,} validation "
        f"images, {len(data.label_names)} classes\n"
        f"{accelerator.num_processes} process(es) on {accelerator.device.type}, "
        f"precision {accelerator.mixed_precision}, "
        f"{recipe.total_train_batch_size} images per step = {accelerator.num_processes} process(es) × "
        f"{recipe.gradient_accumulation_steps} accumulation step(s) × {batch_size}\n"
        f"run folder {run.path}"
    )

    for epoch in range(progress.epoch + 1, recipe.num_train_epochs + 1):
        # Train
        data.train_loader.sampler.epoch = epoch
        data.train_loader.sampler.start_batch = progress.batches
        metrics = TrainMetrics(accelerator)
        if progress.batches:
            run.load_metrics(checkpoint, metrics)
        model.train()
        if recipe.freeze_batch_norm:
            freeze_batch_norm(model)
        with console.epoch(epoch, len(data.train_loader), progress.batches):
            for batch in data.train_loader:
                with accelerator.accumulate(model):
                    learning_rate = lr_at(progress.step)
                    set_learning_rate(optimizer, learning_rate)
                    logits = model(batch["pixel_values"]).logits
                    loss = criterion(logits, batch)
                    accelerator.backward(loss)
                    if recipe.max_grad_norm is not None and accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
                    optimizer.step()
                    optimizer.zero_grad()
                if accelerator.sync_gradients and not accelerator.optimizer_step_was_skipped:
                    progress.step += 1
                    if average is not None:
                        average.after_step(accelerator.unwrap_model(model), progress.step, epoch)
                metrics.update(loss, logits, batch["labels"], len(data.train_loader.bad_images))
                progress.batches += 1
                console.advance(metrics, learning_rate)
                if recipe.checkpoint_is_due(progress.batches, epoch, len(data.train_loader)):
                    run.save_checkpoint(accelerator, progress, recipe, metrics)
        train_results = metrics.compute()
        data.train_loader.sampler.start_batch = progress.batches = 0

        # Evaluate the weights, and their average
        candidates = {"": accelerator.unwrap_model(model)}
        if average is not None:
            average.after_epoch(candidates[""], epoch)
            if average.has_begun(epoch):
                candidates["average_"] = average.module
                if recipe.batch_norm_recalibration_steps:
                    data.train_loader.sampler.epoch = 0  # none that is trained on
                    recalibrate_batch_norm(
                        average.module, data.train_loader, recipe.batch_norm_recalibration_steps, accelerator
                    )
        results = {}
        for prefix, candidate in candidates.items():
            broadcast_buffers(candidate)
            validated = evaluate_model(candidate, data.validation_loader, accelerator, flip=recipe.eval_flip)
            results |= {f"{prefix}{name}": value for name, value in validated.items()}
        better = max(candidates, key=lambda prefix: results[f"{prefix}val_top1"])
        is_best = results[f"{better}val_top1"] > progress.best_top1
        row = {"epoch": epoch, "step": progress.step, **train_results, **results, "learning_rate": learning_rate}
        progress.epoch = epoch
        progress.best_top1 = max(progress.best_top1, results[f"{better}val_top1"])
        console.row(row, is_best)
        accelerator.log(row, step=progress.step)

        # Save
        if accelerator.is_main_process:
            run.log(row)
            if is_best:
                with replaced_folder(run.best) as folder:
                    save_model(folder, candidates[better], recipe, run.history(), epoch, better)
        if epoch % recipe.checkpoint_every_epochs == 0 or epoch == recipe.num_train_epochs:
            run.save_checkpoint(accelerator, progress, recipe)

    if accelerator.is_main_process:
        finals = {"": (run.final, accelerator.unwrap_model(model))}
        if average is not None and average.has_begun(progress.epoch):
            finals["average_"] = (run.final_average, average.module)
        for prefix, (path, candidate) in finals.items():
            with replaced_folder(path) as folder:
                save_model(folder, candidate, recipe, run.history(), progress.epoch, prefix)
    console.print(
        f"\nBest validation top-1: {progress.best_top1:.2%}. Load that model with\n\n"
        "import modeling_resnet50\n"
        "from transformers import AutoModelForImageClassification\n"
        f'model = AutoModelForImageClassification.from_pretrained("{run.best}")'
    )
    if recipe.push_to_hub and accelerator.is_main_process:
        console.print(f"\npublished: {push_model(run.best, recipe.hub_model_id)}")
    accelerator.end_training()


if __name__ == "__main__":
    with user_errors_exit_cleanly():
        main()
