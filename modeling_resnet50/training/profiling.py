"""Where the time of a training step goes: a trace of some steps, and what it comes to in a sentence."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch.profiler import profile, record_function

from resnet50_recipe.run_options import RunOptions

from ..files import replaced_file
from .checkpoint import Progress
from .run_folder import RunFolder


# The parts of a step, as its ranges in the trace are called. PyTorch itself marks the wait for the data.
_DATA, _FORWARD, _BACKWARD, _OPTIMIZER = "data wait", "forward", "backward", "optimizer"
_COMMUNICATION, _OTHER = "communication", "other"
PARTS = (_DATA, _FORWARD, _BACKWARD, _OPTIMIZER, _COMMUNICATION, _OTHER)
_IN_WORDS = {_DATA: "waiting for data", _FORWARD: "forward and loss"}
_TOO_LONG_A_WAIT = 0.2


class ProfiledSteps:
    """
    Profiles the steps that `profile_steps` names, in the main process, by PyTorch's profiler. Before the first of them
    and after the last, nothing is marked and nothing measured.

    A GPU is waited for wherever a part begins or ends, so that its work counts where it belongs.

    To be entered for as long as a run trains: steps that a stop cuts short are written all the same.

    Args:
        options: `profile_steps`.
        run: gets `profile/`: `trace.json`, for https://ui.perfetto.dev, and `summary.json`.
        progress: of the run.
        report: shows a line to the user.
    """

    def __init__(
        self,
        options: RunOptions,
        run: RunFolder,
        accelerator: Accelerator,
        progress: Progress,
        report: Callable[[str], None],
    ):
        self.wanted = options.profiled_steps if accelerator.is_main_process else None
        self.run, self.accelerator, self.progress, self.report = run, accelerator, progress, report
        self._profiler: profile | None = None
        self._step: record_function | None = None

    def __enter__(self) -> "ProfiledSteps":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._profiler is not None:
            self._finish()
        if self.wanted is not None and kind is None:
            self.report(
                f"profile_steps {self.wanted[0]}-{self.wanted[-1]} was never reached: this start of the run went from "
                f"step {self._first} to {self.progress.step}"
            )

    def begin(self) -> None:
        """To be called once, when `progress` stands where training begins."""
        self._first = self.progress.step + 1
        self.step()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """While this lasts, the time of a step is counted as that of one of `PARTS`."""
        if self._profiler is None:
            yield
            return
        self._wait()
        with record_function(name):
            yield
            self._wait()

    def step(self) -> None:
        """To be called after each optimizer step."""
        if self.wanted is None:
            return
        number = self.progress.step + 1
        if self._profiler is None and number in self.wanted:
            self._start()
        if self._profiler is not None and number > self.wanted[-1]:
            self._finish()
        elif self._profiler is not None:
            self._step = self._move(self._step, f"step {number}")

    def _start(self) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # otherwise it remarks on itself, in the middle of the bar
        self._profiler = profile()
        self._profiler.start()

    def _finish(self) -> None:
        self._step = self._move(self._step, None)
        profiler, wanted, self._profiler = self._profiler, self.wanted, None
        assert profiler is not None
        assert wanted is not None
        profiler.stop()
        if self.progress.step < max(self._first, wanted[0]):
            return  # the first of them was only begun
        last, self.wanted = wanted[-1], None
        try:
            words = self._write(profiler)
        except OSError as error:  # a full disk must not end the run
            self.report(f"the profile was not written: {error}")
            return
        cut_short = "" if self.progress.step >= last else f", cut short after step {self.progress.step}"
        self.report(words)
        self.report(f"profile{cut_short}: {self.run.profile}, whose trace.json https://ui.perfetto.dev shows")

    def _write(self, profiler: profile) -> str:
        """Trace and summary; returns that in words."""
        trace_file, summary_file = self.run.profile / "trace.json", self.run.profile / "summary.json"
        with replaced_file(trace_file) as unfinished:
            profiler.export_chrome_trace(str(unfinished))
        begun = f"step {self.progress.step + 1}"
        events = [e for e in json.loads(trace_file.read_text())["traceEvents"] if e.get("name") != begun]
        summary = summarize(events)
        with replaced_file(summary_file) as unfinished:
            unfinished.write_text(json.dumps(summary, indent=1) + "\n")
        return summary["in_words"]

    def _move(self, range_: record_function | None, name: str | None) -> record_function | None:
        """End a range, and begin the next if it has a name."""
        self._wait()
        if range_ is not None:
            range_.__exit__(None, None, None)
        return None if name is None else record_function(name).__enter__()

    def _wait(self) -> None:
        if self.accelerator.device.type != "cpu":
            torch.accelerator.synchronize()


def summarize(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """
    Args:
        events: of a trace in Chrome's format, with a range `step N` for each step.

    Returns:
        `steps`, how many; `seconds_per_step`; `shares` of each of `PARTS`, which add up to 1; and all that in words.
    """
    microseconds = _time_in_parts(events)
    names = [e["name"] for e in sorted(_ranges(events), key=lambda e: e["ts"]) if _label(e, False) == "step"]
    total = sum(microseconds.values())
    shares = {part: microseconds[part] / total for part in PARTS}
    seconds = total / len(names) / 1e6
    listed = ", ".join(
        f"{shares[part]:.0%} {_IN_WORDS.get(part, part)}"
        for part in sorted(shares, key=shares.__getitem__, reverse=True)
    )
    which = names[0] if len(names) == 1 else f"steps {names[0].split()[1]} to {names[-1].split()[1]}"
    words = f"{which}, {seconds:.3g} s each while profiled: {listed}"
    if shares[_DATA] >= _TOO_LONG_A_WAIT:
        words += (
            ". The images come too slowly: more cores and dataloader_num_workers, or smaller files "
            "(resnet50 prepare --pack), would make it faster"
        )
    return {"steps": len(names), "seconds_per_step": seconds, "shares": shares, "in_words": words}


def _time_in_parts(events: Iterable[dict[str, Any]]) -> Counter[str]:
    """
    Microseconds of all steps, each moment in one part. Communication is what of it the computation does not hide: all
    else happens at the same time as a part that is counted.
    """
    ranges = _ranges(events)
    on_gpu = any(event["cat"] == "kernel" for event in ranges)
    moments = []
    for event in ranges:
        label = _label(event, on_gpu)
        if label is not None:
            moments += [(event["ts"], label, 1), (event["ts"] + event["dur"], label, -1)]
    spent: Counter[str] = Counter()
    active: Counter[str] = Counter()
    before = 0.0
    for moment, label, change in sorted(moments):
        if active["step"]:
            spent[_part(active)] += moment - before
        active[label] += change
        before = moment
    return spent


def _part(active: Counter[str]) -> str:
    if active[_COMMUNICATION] and not active["computation"]:
        return _COMMUNICATION
    return next((part for part in (_DATA, _OPTIMIZER, _BACKWARD, _FORWARD) if active[part]), _OTHER)


def _label(event: dict[str, Any], on_gpu: bool) -> str | None:
    """What a range in the trace says of the time that it covers."""
    name, category = event["name"], event["cat"]
    if (category == "kernel" and "nccl" in name.lower()) or name.startswith("gloo:"):
        return _COMMUNICATION
    if category == "kernel" or (not on_gpu and category == "cpu_op" and name.startswith("aten::")):
        return "computation"
    if category != "user_annotation":
        return None
    if name.startswith("enumerate(DataLoader)"):
        return _DATA
    if name.startswith("step "):
        return "step"
    return name if name in (_FORWARD, _BACKWARD, _OPTIMIZER) else None


def _ranges(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event.get("ph") == "X" and "cat" in event]
