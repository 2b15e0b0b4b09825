"""
What a run shows on the terminal: what is about to happen, a live bar within an epoch, a table row after it, and what
to do with the result. Only the main process speaks.
"""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text
from transformers import PreTrainedModel

from resnet50_recipe.durations import clock, duration
from resnet50_recipe.terminal import printable
from resnet50_recipe.training_arguments import TrainingArguments
from resnet50_recipe.weights import AVERAGE
from resnet50_recipe.words import command, counted, says_something

from .averaging import first_averaged_step
from .memory import memory_here, training_bytes
from .metrics import TrainMetrics
from .outlook import Outlook, limits, look_ahead
from .run_folder import RunFolder
from .stages import learning_parameters
from .trackers import kind_of


SECONDS_BETWEEN_LINES = 60  # within an epoch, when the output goes to a file
MUCH_WAITING = 0.1  # share of the time; what is less is not worth a word

_COLUMNS = {
    "epoch": ("epoch", "{:>5}"),
    "step": ("step", "{:>7}"),
    "learning_rate": ("lr", "{:>8.2e}"),
    "train_loss": ("train loss", "{:>10.4f}"),
    "train_top1": ("train top-1", "{:>10.2f}%"),
    "val_loss": ("val loss", "{:>8.4f}"),
    "val_top1": ("val top-1", "{:>8.2f}%"),
    "val_top5": ("val top-5", "{:>8.2f}%"),
    f"{AVERAGE}val_top1": ("average's", "{:>8.2f}%"),
    "images_per_second": ("images/s", "{:>8.1f}"),
}
_LEAST_MISSED = ("val_top5", "images_per_second", "step")  # on a narrow terminal
_SHORTEST_BAR = 6  # characters
_BEST = "  best"
# In a row: a column of the metrics, and what to say if it is not 0.
_REMARKS = [
    ("bad_images", "unreadable image", "replaced"),
    ("skipped_steps", "step", "skipped"),
    ("left_out_steps", "step", "left out"),
]


class TrainingConsole:
    """Progress of a run: bars on a terminal, plain lines where the output is piped to a file or in a notebook."""

    def __init__(self, is_main_process: bool, num_epochs: int, averages: bool = False):
        self.console = Console(quiet=not is_main_process, highlight=False, soft_wrap=True)
        self.num_epochs = num_epochs
        self.averages = averages
        self._why: str | None = None
        self._num_labels: int | None = None
        self._header_shown = False
        self._bar: Progress | None = None
        self._trained_until: float | None = None
        self._seconds_beside = 0.0  # of the last epoch: validation, saving

    def print(self, *lines: str) -> None:
        """Print lines; none: an empty one."""
        for line in lines or [""]:
            self.console.print(printable(line), markup=False)

    def follow(self, outlook: Outlook) -> None:
        """How many epochs there are to be; what decided that is said once."""
        self.num_epochs = outlook.epochs
        if outlook.why is not None and outlook.why != self._why:
            self.print(outlook.why)
        self._why = outlook.why

    def start(
        self,
        recipe: TrainingArguments,
        run: RunFolder,
        environment: dict[str, Any],
        model: PreTrainedModel,
        steps_per_epoch: int,
        classes: str = "",
    ) -> None:
        """
        What is about to happen, on one screen.

        Args:
            environment: as `describe_environment` gives it.
            model: unwrapped.
            steps_per_epoch: of the optimizer.
            classes: how many images they have.
        """
        processes = environment["num_processes"]
        devices = " + ".join(f"{count} × {name}" for name, count in environment["devices"].items())
        policy = "" if recipe.auto_augment == "none" else f", {recipe.auto_augment}"
        mixing = "".join(f", {name}" for name in ("mixup", "cutmix") if getattr(recipe, f"{name}_alpha"))
        viewers = [
            command(*(word.format(logs=run.logs) for word in kind_of(name).viewer or [name]))
            for name in recipe.trackers
        ]
        all_processes = counted(processes, "process")
        epochs = counted(recipe.num_train_epochs, "epoch")
        num_labels = self._num_labels = len(model.config.id2label or ())
        total_steps = steps_per_epoch * recipe.num_train_epochs
        average = {}
        if recipe.averages and first_averaged_step(recipe, steps_per_epoch) > total_steps:
            average["average"] = f"none: it would begin at step {first_averaged_step(recipe, steps_per_epoch):,}"
        self._lines(
            {
                "recipe": f"{epochs}, {recipe.optim}, learning rate {recipe.learning_rate:g} "
                f"({recipe.lr_scheduler_type}, {counted(recipe.warmup_epochs, 'warm-up epoch')}), {recipe.loss}, "
                f"seed {recipe.seed}",
                "data": f"{recipe.dataset_name}: {environment['num_train_images']:,} training and "
                f"{counted(environment['num_validation_images'], 'validation image')}, "
                f"{counted(num_labels, 'class')}",
                **({"classes": classes + _evened_out(recipe)} if classes else {}),
                "images": f"{recipe.image_size} pixels in training{policy}{mixing}, "
                f"{recipe.eval_image_size or recipe.image_size} in validation",
                "model": f"{type(model).__name__}, {_parameters_in_words(model)}, "
                + (f"from {recipe.model_name_or_path}" if recipe.model_name_or_path else "from scratch"),
                "devices": f"{all_processes} on {environment['device_type']}, {devices}, "
                f"precision {environment['mixed_precision'].replace('no', 'fp32')}",
                "batch": f"{counted(recipe.total_train_batch_size, 'image')} per step = {all_processes} × "
                f"{counted(recipe.gradient_accumulation_steps, 'accumulation step')} × "
                f"{recipe.local_batch_size(processes)}",
                **({} if recipe.gradient_checkpointing else {"memory": self._memory(recipe, environment, model)}),
                "steps": f"{steps_per_epoch:,} an epoch × {epochs} = {total_steps:,}{limits(recipe)}",
                **average,
                "run folder": str(run.path),
                **({"watch it": " · ".join(viewers)} if viewers else {}),
            }
        )
        self.print()

    def _memory(self, recipe: TrainingArguments, environment: dict[str, Any], model: PreTrainedModel) -> str:
        """What it takes, and whether there is as much: a machine without memory may just stand still."""
        kind, processes = environment["device_type"], environment["num_processes"]
        needed = training_bytes(model, recipe, processes, kind, environment["mixed_precision"])
        there = memory_here(kind)
        if there is not None and kind == "cpu":
            there /= -(-processes // environment["num_machines"])
        told = f"about {needed / 1e9:.1f} GB a process"
        if there is None or needed <= there:
            return told
        return (
            f"{told}, AND IT HAS {there / 1e9:.1f} GB: give a smaller --image_size or --total_train_batch_size, more "
            "--gradient_accumulation_steps, or --gradient_checkpointing true"
        )

    def finish(self, recipe: TrainingArguments, run: RunFolder) -> None:
        """How it ended, and what can be done with it."""
        history = run.history()
        score, weights = run.best_model(recipe)
        averaged = ", averaged weights" if weights.averaged else ""
        value = score if recipe.greater_is_better else -score
        best = f"{recipe.metric_for_best_model} {value:.4f}, epoch {weights.epoch}{averaged}: {run.best}"
        model = run.best if weights.epoch else run.final
        publish = command("resnet50", "publish", run.path, *([] if recipe.hub_model_id else ["--to", "user/name"]))
        why = look_ahead(recipe, history).why
        average = {}
        if recipe.averages and f"{AVERAGE}val_loss" not in history[-1]:
            average["average"] = "none: the run ended before its first update (ema_every_steps, ema_start_epoch)"
        self.print()
        self._lines(
            {
                "finished": f"{counted(len(history), 'epoch')}, {counted(history[-1]['step'], 'step')}, "
                f"{duration(run.seconds())}",
                **({"epochs": why} if why else {}),
                **({"best": best} if weights.epoch else {}),
                **average,
                "curves": str(run.training_curves),
                "evaluate": command("resnet50", "evaluate", model, *_its_validation_images(recipe)),
                "publish": publish + (" sends what is not there yet" if recipe.push_to_hub else ""),
                "load": "",
            }
        )
        self.print(
            "",
            "import modeling_resnet50",
            "from transformers import AutoModelForImageClassification",
            f"model = AutoModelForImageClassification.from_pretrained({json.dumps(str(model), ensure_ascii=False)})",
        )

    def _lines(self, lines: dict[str, str]) -> None:
        for title, text in lines.items():
            self.console.print(Text.assemble((f"{title:<12}", "bold cyan"), printable(text)))

    @contextmanager
    def epoch(self, epoch: int, num_steps: int, done: int = 0) -> Iterator[None]:
        """Show progress through `num_steps` of the optimizer, of which some are done; `advance` after each."""
        self._epoch, self._num_steps, self._steps_done, self._start = epoch, num_steps, done, done
        self._shown_at = time.monotonic()
        if self.console.is_terminal and not self.console.quiet:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}/{task.fields[num_epochs]}", style="bold cyan"),
                BarColumn(bar_width=None),  # what the numbers leave of the line
                TextColumn("{task.completed}/{task.total}"),
                TextColumn("{task.fields[metrics]}"),
                console=self.console,
                expand=True,
                transient=True,
                refresh_per_second=2,
            )
            self._bar.start()
            fields: dict[str, Any] = {"epoch": epoch, "num_epochs": self.num_epochs, "metrics": ""}
            self._task = self._bar.add_task("", total=num_steps, completed=done, **fields)
        try:
            yield
        finally:
            self._trained_until = time.monotonic()
            if self._bar is not None:
                self._bar.stop()
                self._bar = None

    def advance(self, metrics: TrainMetrics, learning_rate: float) -> None:
        """One more step is done. Metrics are read from the device once a second at most: reading waits for it."""
        self._steps_done += 1
        if self._bar is not None:
            self._bar.advance(self._task)
        now = time.monotonic()
        if self.console.quiet or now - self._shown_at < (1 if self._bar is not None else SECONDS_BETWEEN_LINES):
            return
        self._shown_at = now
        loss, top1, images_per_second = metrics.read()
        epoch_left, run_left = self._seconds_left(metrics)
        parts = {
            "loss": f"loss {loss:.3f}",
            "top1": f"top-1 {top1:.1%}",
            "learning_rate": f"lr {learning_rate:.1e}",
            "speed": f"{images_per_second:.0f} images/s",
            "wait": f"data wait {metrics.data_wait():.0%}" if metrics.data_wait() >= MUCH_WAITING else "",
            "left": f" {clock(epoch_left)} left, {clock(run_left)} of the run",
        }
        place = f"epoch {self._epoch}/{self.num_epochs} ", f" {self._steps_done}/{self._num_steps} "
        if self._bar is None:
            self.print(" ".join([*place, *filter(None, parts.values())]))
            return
        for least_missed in ("learning_rate", "top1", "wait", "speed"):
            if len(" ".join([*place, *parts.values()])) + _SHORTEST_BAR > self.console.width:
                del parts[least_missed]
        self._bar.update(self._task, metrics=" ".join(filter(None, parts.values())))

    def _seconds_left(self, metrics: TrainMetrics) -> tuple[float, float]:
        """Of training in this epoch; and of the run, with validation as long as the last one was."""
        pace = metrics.seconds() / (self._steps_done - self._start)
        epoch_left = pace * (self._num_steps - self._steps_done)
        epochs_after = self.num_epochs - self._epoch
        run_left = epoch_left + epochs_after * pace * self._num_steps + (epochs_after + 1) * self._seconds_beside
        return epoch_left, run_left

    def row(self, metrics: dict[str, Any], is_best: bool) -> None:
        """One line of the table; the header comes before the first."""
        if self._trained_until is not None:
            self._seconds_beside = time.monotonic() - self._trained_until
        columns = self._columns()
        if not self._header_shown:
            self._header_shown = True
            self.console.print(Text(_join(columns.values(), [title for title, _ in columns.values()]), "bold cyan"))
        shown = {name: 100 * value if "_top" in name else value for name, value in metrics.items()}
        cells = [form.format(shown[name]) if name in shown else "" for name, (_, form) in columns.items()]
        remarks = [f"  data wait {metrics['data_wait']:.0%}"] if metrics["data_wait"] >= MUCH_WAITING else []
        for name, noun, what in _REMARKS:
            remarks += [f"  {counted(metrics[name], noun)} {what}"] if metrics[name] else []
        remarks += [_BEST] if is_best else []
        line = _join(columns.values(), cells) + "".join(remarks)
        self.console.print(Text(line, "bold green" if is_best else ""))

    def _columns(self) -> dict[str, tuple[str, str]]:
        """Those that there are, and that fit: a file takes any width."""
        pointless = {name for name in _COLUMNS if name.startswith(AVERAGE) and not self.averages}
        if self._num_labels is not None and not says_something(5, self._num_labels):
            pointless.add("val_top5")
        columns = {name: column for name, column in _COLUMNS.items() if name not in pointless}
        for name in _LEAST_MISSED:
            width = len(_join(columns.values(), [title for title, _ in columns.values()]) + _BEST)
            if self.console.is_terminal and width > self.console.width:
                del columns[name]
        return columns


def _join(columns: Iterable[tuple[str, str]], cells: list[str]) -> str:
    """Cells as wide as their titles and their numbers need."""
    return "  ".join(cell.rjust(max(len(title), len(form.format(0)))) for (title, form), cell in zip(columns, cells))


def _parameters_in_words(model: PreTrainedModel) -> str:
    parameters, learning = sum(parameter.numel() for parameter in model.parameters()), learning_parameters(model)
    return f"{parameters:,} parameters" + ("" if learning == parameters else f", {learning:,} of them learn")


def _evened_out(recipe: TrainingArguments) -> str:
    """What the recipe does about uneven classes."""
    done = [f"sampling {recipe.sampling}"] if recipe.sampling != "uniform" else []
    if recipe.class_weights != "none":
        done.append(f"class_weights {recipe.class_weights if isinstance(recipe.class_weights, str) else 'given'}")
    done += [f"focal_gamma {recipe.focal_gamma:g}"] if recipe.focal_gamma else []
    return f"; {', '.join(done)}" if done else ""


def _its_validation_images(recipe: TrainingArguments) -> list[str]:
    """Options of `resnet50 evaluate` that stand for what a recipe judges by."""
    options = ["--dataset", recipe.dataset_name]
    fields = {
        "dataset_config": recipe.dataset_config_name,
        "split": recipe.train_split_name if recipe.train_val_split is not None else recipe.validation_split_name,
        "image_column": recipe.image_column_name,
        "label_column": recipe.label_column_name,
        "train_val_split": recipe.train_val_split,
        "seed": recipe.seed if recipe.train_val_split is not None and recipe.seed != TrainingArguments.seed else None,
    }
    for name, value in fields.items():
        options += [] if value is None else [f"--{name}", str(value)]
    return [*options, *(["--streaming"] if recipe.streaming else [])]
