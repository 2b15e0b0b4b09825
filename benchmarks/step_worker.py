"""
One form of a training step, in a process of its own: it takes steps when it is told to, and says how long each took.

Started by `step.py` with a `Form` as JSON. A line on standard input, `{"steps": 10}`, is answered by a line on
standard output; with `"kernels": true` also by what ran on the GPU meanwhile. Between its turns it holds no more of
the GPU's memory than weights and optimizer.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import IO, Any

import timm
import torch
import torchvision
import transformers
from accelerate import Accelerator
from torch import Tensor, nn

from modeling_resnet50.data.loader import DeviceLoader
from modeling_resnet50.data.pipeline import TrainingData
from modeling_resnet50.data.sampling import EvaluationSampler, TrainSampler
from modeling_resnet50.data.transforms import normalize

from .train_script import run_train_script


WARM_UP = 3  # steps of each turn that are not timed
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Form:
    """
    What takes the steps.

    Attributes:
        script: whose they are: ours, timm, torchvision or transformers.
        fields: of the recipe, for ours.
    """

    script: str
    device: str = "cpu"
    batch_size: int = 16
    image_size: int = 224
    precision: str = "no"
    channels_last: bool = False
    cudnn_benchmark: bool = False
    compiled: bool = False
    fields: dict[str, Any] = field(default_factory=dict)


class Turns:
    """
    An iterator whose every element is leave to take one more step.

    Args:
        requests, answers: lines of JSON.
    """

    def __init__(self, device: torch.device, requests: IO[str], answers: IO[str]):
        self.device, self.requests, self.answers = device, requests, answers
        self.on_gpu = device.type == "cuda"

    def __iter__(self) -> Iterator[None]:
        self._answer({"ready": True})
        for line in self.requests:
            request = json.loads(line)
            for _ in range(request.get("warm_up", WARM_UP)):
                yield
            if self.on_gpu:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            marks = [self._mark()]
            with _Kernels() if request.get("kernels") else nullcontext() as kernels:
                for _ in range(request["steps"]):
                    yield
                    marks.append(self._mark())
                self._wait()
            answer: dict[str, Any] = {"seconds": self._between(marks)}
            if self.on_gpu:
                answer["memory"] = torch.cuda.max_memory_allocated()
                torch.cuda.empty_cache()
            if kernels is not None:
                answer["kernels"] = kernels.longest()
            self._answer(answer)

    def _wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def _mark(self) -> Any:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, marks: list[Any]) -> list[float]:
        if not self.on_gpu:
            return [after - before for before, after in pairwise(marks)]
        return [before.elapsed_time(after) / 1000 for before, after in pairwise(marks)]

    def _answer(self, answer: dict[str, Any]) -> None:
        self.answers.write(json.dumps(answer) + "\n")
        self.answers.flush()


class _Kernels:
    """What ran on the GPU within it."""

    def __enter__(self) -> "_Kernels":
        self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
        self.profiler.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.profiler.__exit__(*error)

    def longest(self) -> list[tuple[str, int, float]]:
        """Name, number of launches, and seconds in all, from the longest on."""
        found = [(e.key, e.count, e.self_device_time_total / 1e6) for e in self.profiler.key_averages()]
        return sorted(found, key=lambda kernel: -kernel[2])


def run_ours(form: Form, turns: Turns) -> None:
    """train.py as it is, but for its images: the same batch again and again, on the device already."""
    with tempfile.TemporaryDirectory() as folder:
        fields = {
            "image_size": form.image_size, "total_train_batch_size": form.batch_size, "output_dir": f"{folder}/run",
            "mixed_precision": form.precision, "torch_compile": form.compiled, "cudnn_benchmark": form.cudnn_benchmark,
            # The labels are made up: nothing is to be learnt, and no loss that leaps to end the run.
            "learning_rate": 1e-4, "num_train_epochs": 1, "warmup_epochs": 0.0, **form.fields,
        }  # fmt: skip
        run_train_script(lambda recipe, device, *_: _same_batch(form, device, turns), fields)


def _same_batch(form: Form, device: torch.device, turns: Turns) -> TrainingData:
    shape = (form.batch_size, form.image_size, form.image_size, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    labels = torch.randint(0, 1000, shape[:1], device=device)
    batch = {"pixel_values": pixels, "labels": labels, "indices": [0] * form.batch_size, "bad_images": []}
    sampler = TrainSampler(form.batch_size * 10**5, form.batch_size, 0)
    train_loader = DeviceLoader([], sampler, device, list(MEAN), list(STD))
    train_loader.loader = _Repeated(batch, turns)
    validation_loader = DeviceLoader([], EvaluationSampler(1, 1), device, list(MEAN), list(STD))
    names = [str(label) for label in range(1000)]
    return TrainingData(train_loader, validation_loader, names, sampler.num_images, 1)


class _Repeated:
    num_workers, pin_memory = 0, False

    def __init__(self, batch: dict[str, Any], turns: Turns):
        self.batch, self.turns = batch, turns

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for _ in self.turns:
            yield dict(self.batch)


class _Logits(nn.Module):
    """transformers' model, giving logits."""

    def __init__(self) -> None:
        super().__init__()
        config = transformers.ResNetConfig(num_labels=1000, downsample_in_bottleneck=False)
        self.model = transformers.ResNetForImageClassification(config)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values).logits


def peers_step(form: Form, device: torch.device) -> Callable[[], None]:
    """
    What a peer's script does with a batch: timm's train.py with its prefetching loader (uint8, normalised on the
    device), torchvision's references/classification/train.py (which reads loss and accuracy at each step), and
    transformers' run_image_classification_no_trainer.py (Accelerate, AdamW).
    """
    layout = torch.channels_last if form.channels_last else torch.contiguous_format
    models = {"timm": lambda: timm.create_model("resnet50"), "torchvision": torchvision.models.resnet50}
    model: nn.Module = models.get(form.script, _Logits)()
    model = model.to(device, memory_format=layout).train()
    shape = (form.batch_size, 3, form.image_size, form.image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device).contiguous(memory_format=layout)
    labels = torch.randint(0, 1000, shape[:1], device=device)
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD))
    floats = normalize(images, mean, std)
    if form.compiled:
        model.compile()
    if form.script == "transformers":
        return _accelerated_step(form, model, floats, labels)
    nesterov = form.script == "timm"
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=1e-4, nesterov=nesterov)
    dtype = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[form.precision]
    scaler = torch.amp.GradScaler(device.type, enabled=form.precision == "fp16")

    def step() -> None:
        pixels = floats if form.script == "torchvision" else normalize(images, mean, std)
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=form.precision != "no"):
            logits = model(pixels)
            loss = nn.functional.cross_entropy(logits, labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if form.script == "torchvision":
            loss.item()
            for k in (1, 5):
                (logits.topk(k).indices == labels[:, None]).sum().item()

    return step


def _accelerated_step(form: Form, model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    accelerator = Accelerator(mixed_precision=form.precision, cpu=form.device == "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    scheduler = transformers.get_scheduler("linear", optimizer, 0, 10**5)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)

    def step() -> None:
        with accelerator.accumulate(model):
            loss = nn.functional.cross_entropy(model(images), labels)
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

    return step


def main() -> None:
    form = Form(**json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed meanwhile is no answer
    device = torch.device(form.device)
    turns = Turns(device, sys.stdin, answers)
    torch.set_num_threads(int(os.environ.get("STEP_THREADS", os.cpu_count() or 1)))
    if form.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    if form.script == "ours":
        return run_ours(form, turns)
    torch.backends.cudnn.benchmark = form.cudnn_benchmark
    step = peers_step(form, device)
    for _ in turns:
        step()


if __name__ == "__main__":
    main()
