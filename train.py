"""
Train a ResNet-50, from recipe to a model anyone can load.

    accelerate launch train.py --config recipes/digits.yaml [--any_field value]

Everything that decides the result is in the recipe; the machine is accelerate's configuration.
"""

from collections.abc import Iterable
from typing import Any

from resnet50_recipe.errors import user_errors_exit_cleanly
from resnet50_recipe.recipe_file import parse_recipe
from resnet50_recipe.startup import importing


if __name__ == "__main__":
    with user_errors_exit_cleanly():
        parse_recipe()  # mistakes are told at once: what follows takes seconds

with importing(is_program=__name__ == "__main__"):
    from modeling_resnet50.data.pipeline import TrainingData, load_training_data
    from modeling_resnet50.evaluation.evaluate import evaluate_model
    from modeling_resnet50.loop.building import create_learner
    from modeling_resnet50.loop.learner import Learner
    from modeling_resnet50.loop.run import Run, open_run
    from modeling_resnet50.loop.saving import Keeper
    from modeling_resnet50.training.distributed import broadcast_buffers
    from modeling_resnet50.training.supervision import TrainingStopped


def main() -> None:
    """A whole run. Everything that can be wrong is found before anything is written."""
    with open_run(parse_recipe()) as run:
        with run.accelerator.main_process_first():
            data = load_training_data(run.recipe, *run.share)
        learner = create_learner(run, data)
        keeper = Keeper(run, learner)
        run.begin(data, learner)
        while run.progress.epoch < learner.outlook.epochs:
            trained = train_epoch(run, data, learner, keeper)
            if trained is None:
                keeper.go_back()
                continue
            row = run.finish_epoch(learner, trained | evaluate_epoch(run, data, learner))
            run.tell(row, is_best=keeper.save_epoch(row))
            run.look_ahead(learner)
            keeper.after_epoch()
        keeper.save_finals()


def train_epoch(run: Run, data: TrainingData, learner: Learner, keeper: Keeper) -> dict[str, float] | None:
    """
    Train through an epoch, or what is left of it.

    Returns:
        What was measured; None if numbers went wrong, and the run is to go back to its last checkpoint.

    Raises:
        TrainingStopped: somebody wants it to stop. A checkpoint stands.
    """
    learner.start_epoch(keeper.epoch_metrics())
    with run.epoch(data):
        for passes, images in data.steps(run.batches(data, learner)):
            trouble = train_step(run, learner, passes)
            agreed = run.supervisor.agree(trouble=trouble is not None, checkpoint=keeper.is_late)
            if agreed.trouble:
                run.console.print(learner.guard.roll_back(trouble, learner.lr_at(run.progress.step)))
                return None
            run.before_step(learner)
            with run.profiler.part("optimizer"):
                learner.step()
            run.progress.images = images
            due = agreed.checkpoint or agreed.stop is not None or keeper.is_due(data.images_per_epoch)
            if due or run.wants_outcome:
                learner.settle()
            run.after_step(learner)
            if due:
                keeper.save()
            if agreed.stop is not None:
                keeper.finish()
                raise TrainingStopped(agreed.stop)
        learner.settle()
    return learner.metrics.compute()


def train_step(run: Run, learner: Learner, passes: Iterable[dict[str, Any]]) -> str | None:
    """
    The gradients of one optimizer step, from one forward pass or several.

    Returns:
        What is wrong with them, on this process; None if nothing is.
    """
    learner.guard.begin_step()
    for batch in passes:
        with run.accelerator.accumulate(learner.model):
            with run.profiler.part("forward"):
                logits = learner.forward(batch["pixel_values"]).logits
                loss = learner.criterion(logits, batch)
            learner.guard.watch(loss, batch["indices"])
            with run.profiler.part("backward"):
                run.accelerator.backward(loss)
        learner.metrics.update(loss, logits, batch["labels"], batch["bad_images"])
    return learner.judge()


def evaluate_epoch(run: Run, data: TrainingData, learner: Learner) -> dict[str, float]:
    """Loss and accuracy on the validation images: of the weights, and of their average."""
    learner.finish_average(data)
    results: dict[str, float] = {}
    for weights, candidate in learner.candidates(run.progress.epoch + 1).items():
        broadcast_buffers(candidate)
        measured = evaluate_model(candidate, data.validation_loader, run.accelerator, flip=run.recipe.eval_flip)
        results |= {weights.column(name): value for name, value in measured.items()}
    return results


if __name__ == "__main__":
    with user_errors_exit_cleanly():
        main()
