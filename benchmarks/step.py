"""
One training step on a batch that is already there, beside the peers: each as its own script does it, and each as ours.

    python -m benchmarks step [--batch_size 16] [--rounds 5] [--device cpu] [--compile] [--cpu_time]

Forward, loss, backward, optimizer, at 224 pixels and 1000 classes. "As its users run it" is the script's default:
transformers' and timm's and torchvision's train in 32 bits, NCHW, unless told otherwise; on a GPU they are given the
mixed precision that their documentation recommends. "With ours" is channels last and, on the CPU, bf16.
"""

import time
from collections.abc import Callable

import timm
import torch
import torchvision
import transformers
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.recipe import Recipe
from modeling_resnet50.training.losses import Criterion
from modeling_resnet50.training.optimization import create_optimizer, set_learning_rate

from .common import argument_parser, hardware, keep, print_table, take_turns, versions


class _Logits(nn.Module):
    """transformers' model, giving logits."""

    def __init__(self):
        super().__init__()
        config = transformers.ResNetConfig(num_labels=1000, downsample_in_bottleneck=False)
        self.model = transformers.ResNetForImageClassification(config)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values).logits


def plain_step(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, precision: str, channels_last: bool, adamw: bool
) -> Callable[[], None]:
    """What timm's and torchvision's scripts, and the transformers example, do with a batch."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(images.device, memory_format=layout).train()
    images = images.contiguous(memory_format=layout)
    if adamw:
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    dtype = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    scaler = torch.amp.GradScaler(images.device.type, enabled=precision == "fp16")

    def step() -> None:
        with torch.autocast(images.device.type, dtype, enabled=precision != "no"):
            loss = nn.functional.cross_entropy(model(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    return step


def our_step(images: torch.Tensor, labels: torch.Tensor, precision: str, compiled: bool) -> Callable[[], None]:
    """What train.py does with a batch."""
    accelerator = Accelerator(mixed_precision=precision)
    recipe = Recipe()
    model = ResNet50ForImageClassification(ResNet50Config(num_labels=1000))
    model.to(images.device, memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = create_optimizer(model, recipe)
    criterion = Criterion(recipe)
    if compiled:
        model.compile()
    model, optimizer = accelerator.prepare(model, optimizer)
    model.train()
    batch = {"labels": labels, "targets": labels}

    def step() -> None:
        with accelerator.accumulate(model):
            set_learning_rate(optimizer, 0.1)
            loss = criterion(model(images).logits, batch)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()

    return step


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="ours by torch.compile as well")
    parser.add_argument("--cpu_time", action="store_true", help="on one core, for a machine that others use too")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.cpu_time:
        torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    images = torch.randn(options.batch_size, 3, 224, 224, device=device)
    labels = torch.randint(0, 1000, (options.batch_size,), device=device)
    theirs, mixed = ("no", "bf16") if device.type == "cpu" else ("fp16", "fp16")

    def plain(model: nn.Module, precision: str = theirs, channels_last: bool = False, adamw: bool = False):
        return plain_step(model, images, labels, precision, channels_last, adamw)

    forms = {
        "transformers example": plain(_Logits(), adamw=True),
        "timm": plain(timm.create_model("resnet50")),
        "torchvision": plain(torchvision.models.resnet50()),
        "transformers, with ours": plain(_Logits(), mixed, channels_last=True),
        "timm, with ours": plain(timm.create_model("resnet50"), mixed, channels_last=True),
        "torchvision, with ours": plain(torchvision.models.resnet50(), mixed, channels_last=True),
    }
    if device.type == "cpu":
        forms["ours, 32 bits"] = _alone(lambda: our_step(images, labels, "no", compiled=False))
    forms["ours"] = _alone(lambda: our_step(images, labels, mixed, compiled=False))
    if options.compile:
        forms["ours, compiled"] = _alone(lambda: our_step(images, labels, mixed, compiled=True))
    print(f"{hardware(device)}, {torch.get_num_threads()} threads; {versions()}")
    clock = time.process_time if options.cpu_time else time.perf_counter
    seconds = take_turns(forms, options.rounds, clock, device)
    speeds = {form: [options.batch_size / taken for taken in values] for form, values in seconds.items()}
    title = f"training step, batch {options.batch_size}, {device.type}"
    print_table(title, "images/s", speeds, "transformers example")
    name = "step" if device.type == "cpu" else f"step_{device.type}"
    keep(name, vars(options), {title: ("images/s", "transformers example", speeds)}, device, folder=options.out)


def _alone(make: Callable[[], Callable[[], None]]) -> Callable[[], None]:
    """An Accelerator of its own precision: the state they share is forgotten in between."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return make()


if __name__ == "__main__":
    main()
