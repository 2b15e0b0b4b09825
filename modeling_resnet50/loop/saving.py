"""What is kept of a run: checkpoints to go on from, and models for others."""

import time
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from resnet50_recipe.errors import UserError
from resnet50_recipe.weights import Weights

from ..hub.model_folder import renew_card, save_model
from ..training.checkpoint import CheckpointWriter, TrainingState
from ..training.metrics import TrainMetrics
from ..training.model_writer import ModelWriter
from ..training.numerics import is_finite
from .learner import Learner
from .run import Run


class Keeper:
    """
    Writes what is kept of a run, each thing when its time has come; when the run ends, however it ends, all of it is
    on the disk.

    Args:
        run: whose folder it goes to.
        learner: whose state and weights it is.
    """

    def __init__(self, run: Run, learner: Learner):
        self.run, self.learner = run, learner
        self.state = TrainingState(run.accelerator, learner.model, learner.optimizer, learner.average, run.progress)
        self.checkpoints = CheckpointWriter(
            run.folder, run.recipe, self.state, run.console.print, run.publisher.back_up, learner.guard.recent
        )
        self.models = ModelWriter(run.folder, self._save, run.console.print)
        run.supervisor.at_the_end += [self.checkpoints.close, self.models.close]
        if run.checkpoint is not None:
            self._put_back(run.checkpoint)

    def _put_back(self, checkpoint: Path) -> None:
        progress, say = self.run.progress, self.run.console.print
        differences = self.state.load(checkpoint, keep_optimizer_settings=self.run.recipe.allow_recipe_change)
        within = f", {progress.images:,} images of the next" if progress.images else ""
        say(f"resumed from {checkpoint}: {progress.epoch} epochs{within}, {progress.step} steps done")
        if differences:
            say(f"now {', '.join(differences)}; images, steps and learning rates stay the same")
        self.run.accelerator.wait_for_everyone()

    def _save(self, folder: Path, model: PreTrainedModel, weights: Weights) -> None:
        save_model(folder, model, self.run.folder.trained_model(self.run.recipe, weights))

    # Within an epoch

    def epoch_metrics(self) -> TrainMetrics:
        """For the epoch that comes; if it is in its middle, with what was measured before."""
        return self.state.epoch_metrics()

    @property
    def is_late(self) -> bool:
        """Whether the clock asks for a checkpoint, on this process."""
        return self.checkpoints.is_wanted()

    def is_due(self, images_per_epoch: int) -> bool:
        """Whether the recipe asks for a checkpoint where the run stands, within an epoch."""
        progress = self.run.progress
        return self.run.recipe.checkpoint_is_due(progress.images, progress.epoch + 1, images_per_epoch)

    def save(self) -> None:
        """Take a checkpoint, which is then written while training goes on. To be called by all processes."""
        self.checkpoints.save()

    def finish(self) -> None:
        """
        Wait for the last checkpoint.

        Raises:
            UserError: it could not be written.
        """
        self.checkpoints.finish()

    def go_back(self) -> None:
        """To the last checkpoint: as resuming, but within this start of the run. To be called by all processes."""
        run = self.run
        checkpoint = self.checkpoints.newest()
        self.state.load(checkpoint)
        self.learner.forget_gradients()
        run.accelerator.wait_for_everyone()
        if run.accelerator.is_main_process:
            run.folder.resume(run.recipe, checkpoint, run.progress.epoch)
        run.look_ahead(self.learner)
        run.console.print(f"back to {checkpoint}; {len(run.progress.left_out)} steps are left out")

    # After one

    def save_epoch(self, row: dict[str, Any]) -> bool:
        """
        Write an epoch's row to metrics.jsonl, and keep the better one of model and average, if it is the best so far
        and all its weights are numbers.

        Returns:
            Whether it is the best, on the main process.
        """
        run = self.run
        self._judged_at = time.perf_counter()
        if not run.accelerator.is_main_process:
            return False
        candidates = self.learner.candidates(run.progress.epoch)
        scores = {weights: run.recipe.score(row, weights) for weights in candidates}
        better = max(scores, key=scores.__getitem__)
        is_best = scores[better] > self.models.best_score(run.recipe) and is_finite(candidates[better])
        run.folder.log(row)  # before the card, which has it in it, and after all that it is compared with
        if is_best:
            self.models.write(run.folder.best, candidates[better], better, then=run.publisher.best_is_new)
        return is_best

    def after_epoch(self) -> None:
        """A checkpoint, if the recipe asks for one, and what is published with it."""
        run = self.run
        epoch = run.progress.epoch
        if epoch % run.recipe.checkpoint_every_epochs == 0 or epoch >= self.learner.outlook.epochs:
            # First what is published: whoever is killed in between does this epoch again, and nothing is missed.
            run.publisher.checkpoint(epoch, partial(self._save, model=self.learner.module, weights=Weights(epoch)))
            self.checkpoints.save()
        run.publisher.look()
        self.state.seconds_beside = time.perf_counter() - self._judged_at

    def save_finals(self) -> None:
        """
        When all epochs are over: the last weights and their average, and the card of the best ones, which has the
        whole run in it.

        Raises:
            UserError: weights that are not finite, or a disk that does not take them.
        """
        run = self.run
        if not run.accelerator.is_main_process:
            return
        self.checkpoints.wait()
        for weights, model in self.learner.candidates(run.progress.epoch).items():
            path = run.folder.final_average if weights.averaged else run.folder.final
            if not is_finite(model):
                raise UserError(f"{path} was not written: some weights are not finite. best/ is from before that")
            self.models.write(path, model, weights)
        self.models.finish()
        _, best = run.folder.best_model(run.recipe)
        if 0 < best.epoch < run.progress.epoch and run.folder.wrote(run.folder.best, until=best.epoch):
            renew_card(run.folder.best, self.learner.module, run.folder.trained_model(run.recipe, best))
        run.publisher.final_is_there()
        run.tracker.draw_curves()
        run.console.finish(run.recipe, run.folder)
