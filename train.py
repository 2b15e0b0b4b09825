"""
Train a ResNet-50, from recipe to a model anyone can load.

    accelerate launch train.py --config recipes/digits.yaml [--any_field value]

Everything that decides the result is in the recipe; the machine is accelerate's configuration.
"""

import datasets
import torch
import transformers
from accelerate.utils import set_seed

from modeling_resnet50 import ResNet50ForImageClassification
from modeling_resnet50.data.pipeline import load_training_data
from modeling_resnet50.errors import user_errors_exit_cleanly
from modeling_resnet50.evaluation.evaluate import evaluate_model
from modeling_resnet50.files import replaced_folder
from modeling_resnet50.hub.model_folder import prepare_repository, push_model, save_model
from modeling_resnet50.recipe import parse_recipe
from modeling_resnet50.training.console import TrainingConsole
from modeling_resnet50.training.distributed import (
    broadcast_buffers,
    create_accelerator,
    num_data_workers,
    synchronize_batch_norm,
)
from modeling_resnet50.training.metrics import TrainMetrics
from modeling_resnet50.training.optimization import create_optimizer, learning_rate_schedule, set_learning_rate
from modeling_resnet50.training.run_folder import Progress, RunFolder


def main() -> None:
    # What is to be done, and where: everything that can be wrong is found before anything is written.
    recipe = parse_recipe()
    run = RunFolder(recipe)
    run.check_free(recipe)
    checkpoint = run.checkpoint_to_resume(recipe)
    accelerator = create_accelerator(recipe)
    batch_size = recipe.local_batch_size(accelerator.num_processes)
    console = TrainingConsole(accelerator.is_main_process, recipe.num_train_epochs)
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
    model = ResNet50ForImageClassification(recipe.model_config(data.label_names))
    model.to(accelerator.device, memory_format=torch.channels_last)
    if recipe.gradient_checkpointing:
        # Renamed between transformers 5.17 and 5.23.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    if recipe.sync_batch_norm:
        model = synchronize_batch_norm(model)
    optimizer = create_optimizer(model, recipe)
    model, optimizer = accelerator.prepare(model, optimizer)
    lr_at = learning_rate_schedule(recipe, len(data.train_loader) // recipe.gradient_accumulation_steps)

    # The run folder: a new run, or back to where the old one stood
    progress = Progress()
    accelerator.register_for_checkpointing(progress)
    if recipe.push_to_hub and accelerator.is_main_process:
        prepare_repository(recipe.hub_model_id)
    if checkpoint is not None:
        accelerator.load_state(str(checkpoint))
        console.print(f"resumed from {checkpoint}: {progress.epoch} epochs, {progress.step} steps done")
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
        metrics = TrainMetrics(accelerator)
        model.train()
        with console.epoch(epoch, len(data.train_loader)):
            for batch in data.train_loader:
                with accelerator.accumulate(model):
                    learning_rate = lr_at(progress.step)
                    set_learning_rate(optimizer, learning_rate)
                    logits = model(batch["pixel_values"]).logits
                    loss = torch.nn.functional.cross_entropy(logits, batch["labels"])
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
                if accelerator.sync_gradients and not accelerator.optimizer_step_was_skipped:
                    progress.step += 1
                metrics.update(loss, logits, batch["labels"])
                console.advance(metrics, learning_rate)
        train_results = metrics.compute(len(data.train_loader.bad_images))

        # Evaluate
        broadcast_buffers(model)
        results = evaluate_model(model, data.validation_loader, accelerator)
        row = {"epoch": epoch, "step": progress.step, **train_results, **results, "learning_rate": learning_rate}
        is_best = results["val_top1"] > progress.best_top1
        progress.epoch = epoch
        progress.best_top1 = max(progress.best_top1, results["val_top1"])
        console.row(row, is_best)
        accelerator.log(row, step=progress.step)

        # Save
        if accelerator.is_main_process:
            run.log(row)
            if is_best:
                with replaced_folder(run.best) as folder:
                    save_model(folder, accelerator.unwrap_model(model), recipe, run.history(), epoch)
        if epoch % recipe.checkpoint_every_epochs == 0 or epoch == recipe.num_train_epochs:
            run.save_checkpoint(accelerator, epoch)

    if accelerator.is_main_process:
        with replaced_folder(run.final) as folder:
            save_model(folder, accelerator.unwrap_model(model), recipe, run.history(), progress.epoch)
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
