"""
The folder of a run, and getting back into it.

    recipe.yaml  metrics.jsonl
    best/  final/              a model each, for `from_pretrained`
    final_average/             if the recipe averages weights
    checkpoints/epoch-0010/    full training state after 10 epochs, with a manifest by which damage is found
    checkpoints/epoch-0010-batch-000120/    …and 120 batches of the next
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ..errors import UserError
from ..files import put_in_place
from ..recipe import Recipe
from .manifest import damage, seal, sync
from .metrics import TrainMetrics


class Progress:
    """Where training stands. Saved with each checkpoint by `Accelerator.save_state`."""

    def __init__(self):
        self.epoch = 0  # epochs completed
        self.batches = 0  # forward passes of each process in the epoch that runs
        self.step = 0  # optimizer steps taken; a step that fp16 skipped is not counted
        self.best_top1 = -1.0

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class RunFolder:
    """
    Paths and files of one run.

    A folder appears under its name only when it is whole: it is written beside and renamed.
    """

    def __init__(self, recipe: Recipe):
        self.path = Path(recipe.output_dir)
        self.recipe_file = self.path / "recipe.yaml"
        self.metrics_file = self.path / "metrics.jsonl"
        self.best = self.path / "best"
        self.final = self.path / "final"
        self.final_average = self.path / "final_average"
        self.checkpoints = self.path / "checkpoints"

    @property
    def _owned(self) -> list[Path]:
        return [self.recipe_file, self.metrics_file, self.best, self.final, self.final_average, self.checkpoints]

    def check_free(self, recipe: Recipe) -> None:
        """
        Raises:
            UserError: another run lies here, and this one neither resumes it nor was told to overwrite it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"output_dir {self.path} is a file")
        taken = any(path.exists() for path in self._owned)
        if taken and not recipe.resume_from_checkpoint and not recipe.overwrite_output_dir:
            raise UserError(
                f"output_dir {self.path} already holds a run: continue it with --resume_from_checkpoint latest, "
                "replace it with --overwrite_output_dir, or choose another with --output_dir"
            )

    def checkpoint_to_resume(self, recipe: Recipe) -> tuple[Path | None, list[str]]:
        """
        The checkpoint named by `resume_from_checkpoint`, proved whole, or None if the recipe starts afresh; and what
        is wrong with newer ones that `latest` had to pass over.

        Raises:
            UserError: there is no such checkpoint, or it is damaged.
        """
        wanted = recipe.resume_from_checkpoint
        if wanted is None:
            return None, []
        if wanted != "latest":
            if not Path(wanted).is_dir():
                raise UserError(f"resume_from_checkpoint {wanted}: not a checkpoint folder")
            problem = damage(Path(wanted))
            if problem is not None:
                raise UserError(
                    f"resume_from_checkpoint {wanted}: {problem}. With `latest`, the newest whole one is taken"
                )
            return Path(wanted), []
        passed_over = []
        for path in reversed(self._saved()):
            problem = damage(path)
            if problem is None:
                return path, passed_over
            passed_over.append(f"{path} is damaged ({problem}) and was passed over")
        if not passed_over:
            raise UserError(f"resume_from_checkpoint latest: no checkpoint in {self.checkpoints}")
        reasons = "".join(f"; {reason}" for reason in passed_over)
        raise UserError(f"resume_from_checkpoint latest: no whole checkpoint in {self.checkpoints}{reasons}")

    def _saved(self) -> list[Path]:
        """Checkpoints, the oldest first."""
        return sorted(self.checkpoints.glob("epoch-*"), key=_position)

    def begin(self, recipe: Recipe) -> None:
        """Start a new run here, in place of any old one."""
        self.path.mkdir(parents=True, exist_ok=True)
        for path in self._owned:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        recipe.save(self.recipe_file)

    def rewind(self, epoch: int) -> None:
        """Drop the lines of metrics.jsonl after `epoch`: a resumed run writes them again."""
        if self.metrics_file.exists():
            lines = self.metrics_file.read_text().splitlines(keepends=True)
            self.metrics_file.write_text("".join(line for line in lines if json.loads(line)["epoch"] <= epoch))

    def log(self, row: dict[str, Any]) -> None:
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.metrics_file.read_text().splitlines()]

    def save_checkpoint(
        self, accelerator: Accelerator, progress: Progress, recipe: Recipe, metrics: TrainMetrics | None = None
    ) -> None:
        """
        Full training state, by all processes together, and then the end of those that `keep_last` and
        `keep_every_epochs` do not keep. Needs `progress` registered for checkpointing.

        Args:
            metrics: of an epoch that is not over.
        """
        name = f"epoch-{progress.epoch:04d}" + (f"-batch-{progress.batches:06d}" if progress.batches else "")
        target = self.checkpoints / name
        unfinished = target.with_name(f".{target.name}.unfinished")
        if accelerator.is_main_process and unfinished.exists():
            shutil.rmtree(unfinished)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(unfinished))
        if metrics is not None:
            path = unfinished / f"metrics_{accelerator.process_index}.json"
            path.write_text(json.dumps(metrics.state_dict()))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            seal(unfinished, epoch=progress.epoch, batches=progress.batches, step=progress.step)
            put_in_place(unfinished, target)
            sync(self.checkpoints)
            self._forget_old(recipe)
        accelerator.wait_for_everyone()

    def load_metrics(self, checkpoint: Path, metrics: TrainMetrics) -> None:
        """Those of the epoch in the middle of which the checkpoint was written."""
        paths = sorted(checkpoint.glob("metrics_*.json"), key=lambda path: int(path.stem.removeprefix("metrics_")))
        metrics.load_state_dict([json.loads(path.read_text()) for path in paths])

    def _forget_old(self, recipe: Recipe) -> None:
        if recipe.keep_last is None:
            return
        for path in self._saved()[: -recipe.keep_last]:
            epoch, batches = _position(path)
            if recipe.keep_every_epochs is None or batches or epoch % recipe.keep_every_epochs:
                doomed = path.with_name(f".{path.name}.old")
                path.rename(doomed)  # at once, so that a kill leaves no half of it
                shutil.rmtree(doomed)


def _position(checkpoint: Path) -> tuple[int, int]:
    """Epochs completed, and batches of the next."""
    numbers = [int(number) for number in re.findall(r"\d+", checkpoint.name)]
    return numbers[0], numbers[1] if len(numbers) > 1 else 0
