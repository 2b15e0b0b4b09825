"""
The whole state of a run: taken in a moment, written by a thread while training goes on, and put back.

    model.safetensors                 weights and buffers
    average.safetensors               those of the average, if the recipe has one
    optimizer.pt  random_states.pt    of torch.save, read with weights_only; the latter has one entry per process
    state.json                        format number, progress, loss scale, running metrics of each process
    recipe.yaml  metrics.jsonl        as they were
    manifest.json                     how long each file is, and its SHA-256
"""

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import broadcast_object_list, gather_object, set_seed
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from resnet50_recipe.errors import UserError, in_one_line
from resnet50_recipe.training_arguments import TrainingArguments

from ..files import put_in_place, sync
from .averaging import WeightAverage
from .manifest import seal
from .metrics import TrainMetrics
from .progress import FORMAT, SETUP, Progress, does_not_fit, read_state
from .recent_steps import RecentSteps
from .run_folder import RunFolder


RETRY_AFTER = 60  # seconds after a failed write
_OF_THE_MACHINE = ("fused", "foreach", "capturable", "differentiable")  # settings of an optimizer, not of the run
WRITE_ERRORS = (OSError, RuntimeError, SafetensorError)  # torch.save and safetensors have their own for a full disk


@contextmanager
def _must_fit(checkpoint: Path, what: str) -> Iterator[None]:
    """Around the loading of one part. Raises: UserError, it is of another shape than a changed recipe has."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError) as error:
        raise does_not_fit(checkpoint, what) from error


class TrainingState:
    """
    Everything that training changes, and that a run needs to go on as if it had never stopped.

    Args:
        model: as it trains; it is unwrapped here.
        average: of its weights, if any.

    Attributes:
        seconds_beside: since the last epoch was judged, which count as the next one's.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: AcceleratedOptimizer,
        average: WeightAverage | None,
        progress: Progress,
    ):
        self.accelerator = accelerator
        self.model = accelerator.unwrap_model(model)
        self.optimizer = optimizer
        self.average = average
        self.progress = progress
        self.seconds_beside = 0.0
        self._metrics = TrainMetrics(accelerator)
        self._loaded_metrics: list[dict[str, float]] = []
        self._host: dict[tuple, Tensor] = {}

    def epoch_metrics(self) -> TrainMetrics:
        """For the epoch that comes; if it is in its middle, with what was measured before."""
        self._metrics = TrainMetrics(self.accelerator)
        if self.progress.images:
            self._metrics.load_state_dict(self._loaded_metrics)
        else:
            self._metrics.seconds_before = self.seconds_beside
        return self._metrics

    def take(self) -> dict[str, Any] | None:
        """
        A copy in host memory, which the next call overwrites. To be called by all processes; the main one gets it.
        """
        metrics = self._metrics.state_dict() if self.progress.images else None
        processes = gather_object([{"random": _random_states(self.accelerator.device), "metrics": metrics}])
        if not self.accelerator.is_main_process:
            return None
        tensors = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.average is not None:
            tensors["average"] = self.average.state_dict()
        copies = self._copy_to_host(tensors)
        if self.accelerator.device.type != "cpu":
            torch.accelerator.synchronize()
        scaler = self.accelerator.scaler
        return {
            **copies,
            "random_states": [process["random"] for process in processes],
            "state": {
                "format": FORMAT,
                "progress": asdict(self.progress),
                "metrics": [process["metrics"] for process in processes],
                "scaler": None if scaler is None else scaler.state_dict(),
                "setup": self.setup,
            },
        }

    @property
    def setup(self) -> dict[str, Any]:
        """How the work is done, which may change from one start of a run to the next."""
        accelerator = self.accelerator
        now = (accelerator.num_processes, accelerator.gradient_accumulation_steps, str(accelerator.mixed_precision))
        return dict(zip(SETUP, now, strict=True))

    def load(self, checkpoint: Path, keep_optimizer_settings: bool = False) -> list[str]:
        """
        Put a checkpoint back, on every process.

        Args:
            keep_optimizer_settings: those of the recipe hold, where they differ from the checkpoint's.

        Returns:
            What is otherwise than when it was written, one sentence each.

        Raises:
            UserError: as `read_state`, or it is of another network, average or optimizer.
        """
        state = read_state(checkpoint)
        with _must_fit(checkpoint, "network"):
            self.model.load_state_dict(load_file(checkpoint / "model.safetensors"))
        if self.average is not None and (checkpoint / "average.safetensors").exists():
            with _must_fit(checkpoint, "average of the weights"):
                self.average.load_state_dict(load_file(checkpoint / "average.safetensors"))
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        optimizer_state = torch.load(checkpoint / "optimizer.pt", map_location="cpu", weights_only=True)
        for group, setting in zip(optimizer_state["param_groups"], settings):
            group.update({name: setting[name] for name in _OF_THE_MACHINE if name in setting})
        with _must_fit(checkpoint, "set of parameters that learn"):
            self.optimizer.load_state_dict(optimizer_state)
        if keep_optimizer_settings:
            for group, setting in zip(self.optimizer.param_groups, settings):
                group.update(setting)
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        left_out = self.progress.left_out  # a rollback adds to what the checkpoint knows
        vars(self.progress).update(state["progress"])
        self.progress.left_out += [step for step in left_out if step not in self.progress.left_out]
        self._loaded_metrics = state["metrics"]
        self.seconds_beside = 0.0

        random_states = torch.load(checkpoint / "random_states.pt", weights_only=True)
        if len(random_states) == self.accelerator.num_processes:
            _set_random_states(random_states[self.accelerator.process_index], self.accelerator.device)
        else:
            set_seed(self.progress.step, device_specific=True)
        before = state["setup"]
        return [f"{now} {name} instead of {before[name]}" for name, now in self.setup.items() if now != before[name]]

    def _copy_to_host(self, value: Any, place: tuple = ()) -> Any:
        """The same structure, its tensors copied to memory that is allocated once, pinned if they are on a GPU."""
        if isinstance(value, dict):
            return {name: self._copy_to_host(item, (*place, name)) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._copy_to_host(item, (*place, index)) for index, item in enumerate(value))
        if not isinstance(value, Tensor):
            return value
        copy = self._host.get(place)
        pinned = value.device.type == "cuda"  # without it, a copy that does not block may be of what is written later
        if copy is None or copy.shape != value.shape or copy.dtype != value.dtype:
            copy = torch.empty_like(value, device="cpu", pin_memory=pinned)
            self._host[place] = copy
        return copy.copy_(value, non_blocking=pinned)


def _random_states(device: torch.device) -> dict[str, Any]:
    """Of this process's generators, in types that `torch.load(weights_only=True)` reads."""
    state: Any = np.random.get_state()  # a tuple, unless asked otherwise
    kind, keys, *rest = state
    states = {"python": random.getstate(), "numpy": [kind, keys.tolist(), *rest], "torch": torch.get_rng_state()}
    if device.type != "cpu":
        states["device"] = torch.get_device_module(device).get_rng_state()
    return states


def _set_random_states(states: dict[str, Any], device: torch.device) -> None:
    version, values, gauss = states["python"]
    random.setstate((version, tuple(values), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if device.type != "cpu" and "device" in states:
        torch.get_device_module(device).set_rng_state(states["device"])


class CheckpointWriter:
    """
    Writes checkpoints in a thread of the main process, one at a time. Memory: one copy of the training state, and
    one of the weights while they are written.

    A write that fails is reported, leaves all older checkpoints as they are, and is tried again.

    Args:
        run: whose `checkpoints` folder they go to.
        recipe: says how often, and which to keep.
        state: what they are of.
        report: is told what went wrong, a sentence.
        on_written: is told of each one that stands, by that thread.
        recent: steps that the run folder gets at each checkpoint, and at the end.
    """

    def __init__(
        self,
        run: RunFolder,
        recipe: TrainingArguments,
        state: TrainingState,
        report: Callable[[str], None],
        on_written: Callable[[Path], None] = lambda checkpoint: None,
        recent: RecentSteps | None = None,
    ):
        self.run, self.recipe, self.state, self.report, self.on_written = run, recipe, state, report, on_written
        self.recent = recent or RecentSteps()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[bool] | None = None
        self._begun_at = time.monotonic()

    def is_wanted(self) -> bool:
        """Whether the clock asks for one: after `checkpoint_every_minutes`, or some time after a failed write."""
        passed = time.monotonic() - self._begun_at
        minutes = self.recipe.checkpoint_every_minutes
        if minutes is not None and passed >= 60 * minutes:
            return True
        failed = self._writing is not None and self._writing.done() and not self._writing.result()
        return failed and passed >= RETRY_AFTER

    def save(self) -> None:
        """Take the state, and begin to write it. To be called by all processes. Waits for a write that still runs."""
        self.wait()
        self._begun_at = time.monotonic()
        contents = self.state.take()
        if contents is None:
            return
        self._write_recent_steps()
        progress = contents["state"]["progress"]
        batches = progress["images"] // self.recipe.total_train_batch_size
        name = f"epoch-{progress['epoch']:04d}" + (f"-batch-{batches:06d}" if batches else "")
        self._writing = self._thread.submit(self._write, self.run.checkpoints / name, contents, self.run.metrics())

    def wait(self) -> bool:
        """Until the last one stands. Returns whether it does."""
        return self._writing is None or self._writing.result()

    def close(self) -> None:
        """When a run ends, however it ends: wait until nothing is written any more, well or not; end the thread."""
        self._thread.shutdown()
        if self.state.accelerator.is_main_process:
            self._write_recent_steps()

    def _write_recent_steps(self) -> None:
        try:
            self.recent.write(self.run.recent_steps_file)
        except OSError as error:  # a full disk must not end the run
            self.report(f"could not write {self.run.recent_steps_file.name} ({in_one_line(error)})")

    def finish(self) -> None:
        """
        Wait until the last one stands.

        Raises:
            UserError: it could not be written.
        """
        if not self.wait():
            raise UserError("the last checkpoint could not be written: what came after the one before is lost")

    def newest(self) -> Path:
        """
        The newest whole one in the run's folder, the same for all processes, which all call this.

        Raises:
            UserError: there is none.
        """
        self.wait()
        found: list[Path | None] = [self.run.newest_whole_checkpoint()[0]]
        broadcast_object_list(found)
        if found[0] is None:
            raise UserError(
                "there is no checkpoint yet to go back to: --checkpoint_every_steps or --checkpoint_every_minutes "
                "makes some"
            )
        return found[0]

    def _write(self, target: Path, contents: dict[str, Any], metrics: str) -> bool:
        broken = non_finite_tensors({name: contents.get(name, {}) for name in ("model", "average", "optimizer")})
        if broken:
            self.report(f"{target.name} was not written: {broken[0]} is not finite, nor are {len(broken) - 1} others")
            return True  # that is for the loop to judge; a second try would find the same
        unfinished = target.with_name(f".{target.name}.unfinished")
        progress = contents["state"]["progress"]
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            for name in ("model", "average"):
                if name in contents:
                    tensors = {key: tensor.contiguous() for key, tensor in contents[name].items()}
                    save_file(tensors, unfinished / f"{name}.safetensors")
            torch.save(contents["optimizer"], unfinished / "optimizer.pt")
            torch.save(contents["random_states"], unfinished / "random_states.pt")
            (unfinished / "state.json").write_text(json.dumps(contents["state"], indent=1) + "\n")
            (unfinished / "metrics.jsonl").write_text(metrics)
            self.recipe.save(unfinished / "recipe.yaml")
            seal(unfinished, **{name: progress[name] for name in ("epoch", "images", "step")})
            put_in_place(unfinished, target)
            sync(target.parent)
            self.run.checkpoint_stands(target)
            self.on_written(target)
            self.run.forget_old(self.recipe)
        except WRITE_ERRORS as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            reason = in_one_line(error)
            self.report(
                f"could not write checkpoint {target.name} ({reason}): older ones are whole, and it is "
                f"tried again after {RETRY_AFTER} s of training"
            )
            return False
        return True


def non_finite_tensors(value: Any, name: str = "") -> list[str]:
    """Names of the tensors in nested dictionaries and lists that hold an infinity or a NaN."""
    if isinstance(value, Tensor):
        return [name] if value.is_floating_point() and not torch.isfinite(value).all() else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return [found for key, item in items for found in non_finite_tensors(item, f"{name}.{key}" if name else str(key))]
