"""
One training step on a batch that is already there, beside the peers: each as its own script does it, and each as ours.

    python -m benchmarks step [--batch_size 16] [--rounds 5] [--steps 3] [--device cpu] [--compile]

At 224 pixels and 1000 classes. Ours is train.py itself with all that it does in a step: normalisation, metrics, the
guard of the numbers, the console; the peers' is what their scripts do. "As its users run it" is the script's default:
transformers' and timm's and torchvision's train in 32 bits, NCHW, unless told otherwise; on a GPU they are given the
mixed precision that their documentation recommends. "With ours" is channels last and, on the CPU, bf16.

Each form lives in a process of its own. They take turns of several steps, one at a time, in random order; a turn's
first steps are not counted. On a GPU, times are those between CUDA events.
"""

import json
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict
from typing import Any

import torch

from .common import argument_parser, hardware, keep, print_table, versions
from .step_worker import Form
from .train_script import PROJECT


class Worker:
    """A form's process; used as a context, which ends it."""

    def __init__(self, form: Form):
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.step_worker", json.dumps(asdict(form))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, cwd=PROJECT,
        )  # fmt: skip

    def ask(self, **request: Any) -> dict[str, Any]:
        """
        Have it take its turn. Without a request, wait until it is ready for the first.

        Raises:
            RuntimeError: it has ended; the message is the end of what it said.
        """
        assert self._process.stdout is not None
        try:
            if request:
                self.send(**request)
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError) as error:
            self._process.wait()
            self._log.seek(0)
            raise RuntimeError("".join(self._log.readlines()[-12:])) from error

    def send(self, **request: Any) -> None:
        """Give it leave for a turn, without waiting for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()


def take_turns(workers: dict[str, Worker], rounds: int, steps: int) -> dict[str, list[dict[str, Any]]]:
    """What each form answered in each round. A form that fails is left out from then on, and said."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for round_ in range(rounds):
        for name in random.Random(round_).sample(list(answers), len(answers)):
            try:
                answers[name].append(workers[name].ask(steps=steps))
            except RuntimeError as error:
                print(f"{name} failed: {error}", file=sys.stderr)
                del answers[name]
    return answers


def images_per_second(answers: dict[str, list[dict[str, Any]]], batch_size: int) -> dict[str, list[float]]:
    """Of each form in each round, by the median of its steps."""
    return {
        name: [batch_size / torch.tensor(answer["seconds"]).median().item() for answer in turns]
        for name, turns in answers.items()
    }


def forms_on(device: str, batch_size: int, image_size: int, compiled: bool) -> dict[str, Form]:
    """The peers as their users run them, the same with ours, and ours."""
    common = {"device": device, "batch_size": batch_size, "image_size": image_size}
    on_cpu = device == "cpu"
    theirs, mixed = ("no", "bf16") if on_cpu else ("fp16", "fp16")
    peers = {"transformers example": "transformers", "timm": "timm", "torchvision": "torchvision"}
    forms = {
        # The example leaves cuDNN's autotuning off; timm's and torchvision's scripts turn it on.
        name: Form(script, precision=theirs, cudnn_benchmark=script != "transformers", **common)
        for name, script in peers.items()
    }
    best = {"channels_last": True, "cudnn_benchmark": True, "precision": mixed}
    forms |= {f"{script}, with ours": Form(script, **best, **common) for script in peers.values()}
    if on_cpu:
        forms["ours, 32 bits"] = Form("ours", precision="no", **common)
    forms["ours"] = Form("ours", **best, **common)
    if compiled:
        forms["ours, compiled"] = Form("ours", compiled=True, **best, **common)
    return forms


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="of each turn, timed one by one")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="ours by torch.compile as well")
    options = parser.parse_args()
    forms = forms_on(options.device, options.batch_size, options.image_size, options.compile)
    print(f"{hardware(torch.device(options.device))}; {versions()}")
    workers = {name: Worker(form) for name, form in forms.items()}
    try:
        for worker in workers.values():
            worker.ask()
        answers = take_turns(workers, options.rounds, options.steps)
    finally:
        for worker in workers.values():
            worker.__exit__()
    speeds = images_per_second(answers, options.batch_size)
    title = f"training step, batch {options.batch_size}, {options.device}"
    print_table(title, "images/s", speeds, "transformers example")
    name = "step" if options.device == "cpu" else f"step_{options.device}"
    parts = {title: ("images/s", "transformers example", speeds)}
    keep(name, vars(options), parts, torch.device(options.device), folder=options.out)


if __name__ == "__main__":
    main()
