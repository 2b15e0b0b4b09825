"""A run, from the command that starts it until its folder is free again."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from resnet50_recipe.exit_codes import ExitCode
from resnet50_recipe.recipe_file import parse_recipe
from resnet50_recipe.terminal import heard_or_not
from resnet50_recipe.training_arguments import TrainingArguments

from ..architecture import model_config
from ..data.class_counts import counts_in_words
from ..data.folders import require_apart
from ..data.pipeline import TrainingData
from ..data.sources import open_train_and_validation
from ..hub.publishing import Publisher, fetch_backup
from ..training.checkpoint import Progress
from ..training.console import TrainingConsole
from ..training.distributed import create_accelerator, num_data_workers
from ..training.environment import describe_environment
from ..training.outlook import look_ahead
from ..training.profiling import ProfiledSteps
from ..training.run_folder import RunFolder
from ..training.supervision import Supervisor, TrainingStopped
from ..training.tracking import Tracker
from .learner import Learner


@dataclass
class Run:
    """
    What a run has around its training: its folder, and those that watch and are told. It holds and tells; nothing is
    decided here.

    Attributes:
        checkpoint: the one it goes on from, if any.
        progress: where it stands.
    """

    recipe: TrainingArguments
    folder: RunFolder
    checkpoint: Path | None
    accelerator: Accelerator
    progress: Progress
    console: TrainingConsole
    publisher: Publisher
    tracker: Tracker
    supervisor: Supervisor
    profiler: ProfiledSteps

    @property
    def share(self) -> tuple[torch.device, int, int, int]:
        """Where this process's data goes, by how many workers, and which part it is: for `load_training_data`."""
        accelerator = self.accelerator
        workers = num_data_workers(self.recipe)
        return accelerator.device, workers, accelerator.process_index, accelerator.num_processes

    def begin(self, data: TrainingData, learner: Learner) -> None:
        """To be called by all processes when all that can be wrong has been looked at: from now on, it is written."""
        data.train_loader.on_batch = data.validation_loader.on_batch = self.supervisor.batch_done
        environment = describe_environment(self.accelerator, data.num_train_images, data.num_validation_images)
        resumed = self.checkpoint is not None
        if self.accelerator.is_main_process:
            if self.checkpoint is not None:
                self.folder.resume(self.recipe, self.checkpoint, self.progress.epoch)
            else:
                self.folder.begin(self.recipe)
            self.folder.add_session(environment, first_epoch=self.progress.epoch + 1)
        self.accelerator.wait_for_everyone()
        self.look_ahead(learner)
        self.supervisor.run_begins()
        self.tracker.begin(data.label_names, resumed=resumed)
        if self.accelerator.is_main_process:  # works out what nobody else shows
            classes = "" if data.class_counts is None else counts_in_words(data.class_counts, data.label_names)
            self.console.start(self.recipe, self.folder, environment, learner.module, data.steps_per_epoch, classes)
        self.profiler.begin()

    def look_ahead(self, learner: Learner) -> None:
        """
        Tell everyone what the epochs that are over, as the main process has them, decide about those to come. To be
        called by all processes, whenever there are others.
        """
        history = self.folder.history() if self.accelerator.is_main_process else []
        found = [look_ahead(self.recipe, history)]
        broadcast_object_list(found)
        learner.follow(found[0])
        self.console.follow(found[0])
        self.supervisor.outcome = found[0].why

    def batches(self, data: TrainingData, learner: Learner) -> Iterable[dict[str, Any]]:
        """The training batches of an epoch, watched as they pass."""
        return self.tracker.batches(data.train_loader, learner.metrics)

    def epoch(self, data: TrainingData) -> AbstractContextManager[None]:
        """Have the data ready for the epoch that comes, or what is left of it. While this lasts, it is shown."""
        progress, sampler = self.progress, data.train_loader.sampler
        epoch = progress.epoch + 1
        sampler.start(self.recipe.draws_of(epoch), progress.images, progress.left_out_of(epoch), progress.layout)
        progress.layout = sampler.layout
        return self.console.epoch(epoch, data.steps_per_epoch, sampler.steps_done)

    def before_step(self, learner: Learner) -> None:
        """When gradients are there, and not clipped."""
        self.tracker.before_step(learner.module)

    @property
    def wants_outcome(self) -> bool:
        """Whether somebody is to be told of the step that comes, and must not wait for its outcome."""
        return self.tracker.is_told_of(self.progress.step + 1)

    def after_step(self, learner: Learner) -> None:
        """When the optimizer has had its turn, whether or not the outcome is known."""
        self.console.advance(learner.metrics, learner.learning_rate)
        if learner.step_was_taken:
            self.tracker.step(learner.metrics, learner.learning_rate)
        self.profiler.step()

    def finish_epoch(self, learner: Learner, results: dict[str, float]) -> dict[str, Any]:
        """
        Count an epoch that is trained and judged.

        Args:
            results: what was measured in it.

        Returns:
            Its row for metrics.jsonl; on the main process, with the `seconds` of the run.
        """
        progress = self.progress
        progress.epoch += 1
        progress.images, progress.layout = 0, None
        row: dict[str, Any] = {
            "epoch": progress.epoch,
            "step": progress.step,
            **results,
            "learning_rate": learner.lr_at(max(progress.step - 1, 0)),
            "skipped_steps": progress.skipped_steps,
            "left_out_steps": len(progress.left_out),
        }
        if self.accelerator.is_main_process:
            row["seconds"] = self.folder.seconds() + learner.metrics.seconds_of_epoch()
        return row

    def tell(self, row: dict[str, Any], is_best: bool) -> None:
        """Whoever wants to hear of an epoch."""
        if self.accelerator.is_main_process:
            self.console.row(row, is_best)
        self.tracker.epoch(row)


@contextmanager
def open_run(recipe: TrainingArguments) -> Iterator[Run]:
    """
    Gives the run that a recipe asks for, in a folder that is held for it. On leaving, everything has been written and
    sent, or the process ends with the exit code that says what has not.

    Raises:
        UserError: what is wrong with recipe, folder, machine or checkpoint; nothing has been written then.
    """
    model_config(recipe)
    folder = RunFolder(recipe)
    require_apart(folder.path, recipe.dataset_name)
    with heard_or_not(), folder.held() as killed:  # nobody else trains in it meanwhile
        folder.check_free(recipe)
        recipe, fitted = fit_to_data(recipe)
        recipe = fetch_backup(recipe, folder)
        checkpoint, remarks = folder.checkpoint_to_resume(recipe)
        accelerator = create_accelerator(recipe)
        recipe.local_batch_size(accelerator.num_processes)
        console = TrainingConsole(accelerator.is_main_process, recipe.num_train_epochs, recipe.averages)
        folder.report = console.print
        for remark in [*([killed] if killed else []), *fitted, *remarks]:
            console.print(remark)
        publisher = Publisher(recipe, folder, accelerator.is_main_process, console.print)
        publisher.check_access(is_new=checkpoint is None)
        transformers.utils.logging.disable_progress_bar()
        if not console.console.is_terminal:
            datasets.disable_progress_bars()

        progress = Progress()
        tracker = Tracker(accelerator, recipe, folder, progress, console.print)
        profiler = ProfiledSteps(recipe, folder, accelerator, progress, console.print)
        with publisher, tracker, Supervisor(accelerator, folder, recipe, progress) as supervisor, profiler:
            watching = console, publisher, tracker, supervisor, profiler
            try:
                yield Run(recipe, folder, checkpoint, accelerator, progress, *watching)
            except TrainingStopped as stopped:
                console.print(
                    f"stopped ({stopped.reason}). Go on by the same command with --resume_from_checkpoint latest"
                )
                raise
        accelerator.end_training()
    if not publisher.everything_is_sent:
        sys.exit(ExitCode.NOT_PUBLISHED)


def fit_to_data(recipe: TrainingArguments) -> tuple[TrainingArguments, list[str]]:
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
