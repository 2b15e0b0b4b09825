"""
What train.py's loop costs beyond forward, backward and optimizer: beside a bare loop with the same model and data, and
beside the peers' whole loops on the same images.

    python -m benchmarks loop SOURCE [--images 192] [--rounds 3] [--cpu_time] [--timm_script PATH/train.py]

SOURCE is what `dataset_name` takes. Two parts:

- "images": ResNet-50 at 224 pixels on real images, one epoch with its validation. `train.py` with all that it does by
  itself: metrics, progress, numbers that went wrong, checkpoints, best model, model card, curves. The bare loop counts
  correct answers and saves the weights. The transformers example is its loop, written anew for today's versions;
  timm's train.py is run as it is, where its path is given.
- "steps": the same with a network so small that little but the loop remains: milliseconds a step.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
import torch
import transformers
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch.utils.data import DataLoader
from torchvision import transforms

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.decoding import encoded_bytes
from modeling_resnet50.data.pipeline import load_training_data
from modeling_resnet50.data.sources import load_evaluation_split
from resnet50_recipe.training_arguments import TrainingArguments

from .common import argument_parser, hardware, keep, print_table, take_turns, versions
from .train_script import run_train_script


TINY = {"depths": [1, 1], "hidden_sizes": [8, 16], "embedding_size": 8}
BATCH_SIZE = 16


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("source")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu_time", action="store_true", help="on one core, for a machine that others use too")
    parser.add_argument("--without_peers", action="store_true", help="ours and the bare loop only")
    parser.add_argument("--timm_script", help="timm's train.py: it is run on the same images")
    options = parser.parse_args()
    if options.timm_script and options.cpu_time:
        parser.error("timm's script is timed by the clock: leave out --cpu_time")
    datasets.disable_progress_bars()
    clock = time.process_time if options.cpu_time else time.perf_counter
    if options.cpu_time:
        os.sched_setaffinity(0, {0})  # train.py takes as many threads as there are cores, and idle ones spin
        torch.set_num_threads(1)
    print(f"{hardware()}, {torch.get_num_threads()} threads; {versions()}")
    with tempfile.TemporaryDirectory() as folder:
        images = _image_folder(options.source, options.images, Path(folder) / "images")
        fields = {"dataset_name": str(images), "total_train_batch_size": BATCH_SIZE, "num_train_epochs": 1,
                  "warmup_epochs": 0.0, "dataloader_num_workers": 0, "mixed_precision": "bf16",
                  "output_dir": str(Path(folder) / "run"), "overwrite_output_dir": True}  # fmt: skip
        tiny = {**fields, "image_size": 16, "mixed_precision": "no", "config_overrides": TINY}
        whole = {
            "bare loop": lambda: bare_loop(TrainingArguments(**fields)),
            "ours": lambda: train_script(fields, clock),
        }
        if not options.without_peers:
            whole["transformers example"] = lambda: transformers_example(images)
        seconds = take_turns(whole, options.rounds, clock)
        if options.timm_script:
            seconds["timm train.py"] = [timm_script(options.timm_script, images) for _ in range(options.rounds)]
        title = f"one epoch, {options.images} images of 224 pixels, and validation"
        print_table(title, "seconds", seconds, "bare loop")
        steps = {"bare loop": [], "ours": []}
        for _ in range(options.rounds + 2):
            steps["bare loop"].append(1000 * bare_loop(TrainingArguments(**tiny), clock))
            steps["ours"].append(1000 * train_script(tiny, clock))
        print_table("a step of almost nothing", "ms", steps, "bare loop")
    parts = {title: ("seconds", "bare loop", seconds), "a step of almost nothing": ("ms", "bare loop", steps)}
    keep(
        "loop_without_peers" if options.without_peers else "loop",
        vars(options),
        parts,
        folder=options.out,
    )


def _image_folder(source: str, count: int, folder: Path) -> Path:
    """train/CLASS and val/CLASS, of eight made-up classes: speed is all that is looked at."""
    split = load_evaluation_split(source)
    split = split.select(np.resize(np.arange(len(split)), count))
    for part, rows in (("train", range(count)), ("val", range(count // 4))):
        for row in rows:
            path = folder / part / f"class{row % 8}" / f"{row}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded_bytes(split[row]["image"]))
    return folder


class _Timed:
    """A loader that notes when its first batch was asked for, and when the work on its last was done."""

    def __init__(self, loader, clock: Callable[[], float]):
        self.loader, self.clock, self.seconds = loader, clock, 0.0

    def __getattr__(self, name: str):
        return getattr(self.loader, name)

    def __setattr__(self, name: str, value) -> None:
        if name in ("loader", "clock", "seconds"):
            super().__setattr__(name, value)
        else:
            setattr(self.loader, name, value)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator:
        started_at = self.clock()
        yield from self.loader
        self.seconds += self.clock() - started_at


def train_script(fields: dict, clock: Callable[[], float]) -> float:
    """Run train.py in this process; returns seconds per step of its training loops."""
    timed: list[_Timed] = []

    def load(*arguments):
        data = load_training_data(*arguments)
        data.train_loader = _Timed(data.train_loader, clock)
        timed.append(data.train_loader)
        return data

    threads = torch.get_num_threads()
    with contextlib.redirect_stdout(io.StringIO()):
        run_train_script(load, fields)
    torch.set_num_threads(threads)
    return timed[0].seconds / len(timed[0])


def _forget_accelerators() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def bare_loop(recipe: TrainingArguments, clock: Callable[[], float] = time.perf_counter) -> float:
    """As little as trains this model on this data; returns seconds per step."""
    data = load_training_data(recipe, torch.device("cpu"), 0, 0, 1)
    loader = _Timed(data.train_loader, clock)
    config = ResNet50Config(num_labels=len(data.label_names), **(recipe.config_overrides or {}))
    model = ResNet50ForImageClassification(config).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=1e-4)
    mixed = recipe.mixed_precision == "bf16"
    for epoch in range(1, recipe.num_train_epochs + 1):
        loader.sampler.start(epoch)
        model.train()
        for batch in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                loss = torch.nn.functional.cross_entropy(model(batch["pixel_values"]).logits, batch["labels"])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        correct = 0
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            for batch in data.validation_loader:
                correct += (model(batch["pixel_values"]).logits.argmax(-1) == batch["labels"]).sum()
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
    return loader.seconds / len(loader)


def transformers_example(images: Path) -> None:
    """The loop of run_image_classification_no_trainer.py: AdamW, 32 bits, `gather_for_metrics`, saving at the end."""
    _forget_accelerators()
    accelerator = Accelerator(cpu=True)
    splits = datasets.load_dataset("imagefolder", data_dir=str(images))
    labels = splits["train"].features["label"].names
    normalize = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    train_transform = transforms.Compose(
        [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalize]
    )
    eval_transform = transforms.Compose(
        [transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor(), normalize]
    )

    def transformed(transform):
        def apply(rows):
            rows["pixel_values"] = [transform(image.convert("RGB")) for image in rows["image"]]
            return rows

        return apply

    def collate(rows):
        pixel_values = torch.stack([row["pixel_values"] for row in rows])
        return {"pixel_values": pixel_values, "labels": torch.tensor([row["label"] for row in rows])}

    train_set = splits["train"].with_transform(transformed(train_transform))
    eval_set = splits["validation"].with_transform(transformed(eval_transform))
    train_loader = DataLoader(train_set, BATCH_SIZE, shuffle=True, collate_fn=collate)
    eval_loader = DataLoader(eval_set, BATCH_SIZE, collate_fn=collate)
    model = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=len(labels)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    scheduler = transformers.get_scheduler("linear", optimizer, 0, len(train_loader))
    model, optimizer, train_loader, eval_loader, scheduler = accelerator.prepare(
        model, optimizer, train_loader, eval_loader, scheduler
    )
    model.train()
    for batch in train_loader:
        with accelerator.accumulate(model):
            loss = model(**batch).loss
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    model.eval()
    predictions, references = [], []
    for batch in eval_loader:
        with torch.no_grad():
            answer = model(**batch).logits.argmax(-1)
        answer, reference = accelerator.gather_for_metrics((answer, batch["labels"]))
        predictions += answer.tolist()
        references += reference.tolist()
    with tempfile.TemporaryDirectory() as folder:
        accelerator.unwrap_model(model).save_pretrained(folder)


def timm_script(script: str, images: Path) -> float:
    """Seconds of one epoch and its validation, by the script's own lines."""
    command = [
        sys.executable, script, "--data-dir", str(images), "--model", "resnet50", "--device", "cpu", "--workers", "0",
        "--num-classes", str(len(list((images / "train").iterdir()))), "--epochs", "1", "--warmup-epochs", "0",
        "--batch-size", str(BATCH_SIZE), "--lr", "0.1", "--log-interval", "1", "--no-prefetcher",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        output = subprocess.run([*command, "--output", folder], capture_output=True, text=True, check=True)
    lines = (output.stdout + output.stderr).splitlines()
    seconds = 0.0
    for line in lines:
        if match := re.search(r"(Train|Test): .*Time: *([\d.]+)", line):
            seconds += float(match[2])
    return seconds


if __name__ == "__main__":
    main()
