"""
Evaluation speed from files to top-1, beside timm's validation loop and `evaluate.evaluator`, in one process.

    python -m benchmarks evaluation SOURCE [--images 96] [--rounds 5] [--num_workers 2] [--cpu_time]

SOURCE is what `--dataset` takes. All judge one ResNet-50 of random weights, at 224 pixels, on the same images. Shown
last is what the metrics of ImageNet's 50,000 images take.

On a machine that others use too, --cpu_time counts the seconds of this process on one core instead.
"""

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import evaluate
import numpy as np
import timm
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from timm.data import create_loader
from timm.utils import AverageMeter, accuracy

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.decoding import encoded_bytes
from modeling_resnet50.data.loader import DeviceLoader, ImageBatches
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.sampling import EvaluationSampler
from modeling_resnet50.data.sources import load_evaluation_split
from modeling_resnet50.data.transforms import EvaluationTransform
from modeling_resnet50.evaluation import TopKAccuracy
from modeling_resnet50.evaluation.evaluate import predict
from modeling_resnet50.evaluation.predictions import Predictions
from modeling_resnet50.evaluation.statistics import summarize
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor

from .common import argument_parser, hardware, keep, print_table, spread, take_turns, versions


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
BATCH_SIZE = 32


class Pictures(torch.utils.data.Dataset):
    """What timm's ImageDataset does: PIL, then the transform that `create_loader` puts here."""

    def __init__(self, split: datasets.Dataset):
        self.split = split
        self.transform = None

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int):
        row = self.split[index]
        image = Image.open(io.BytesIO(encoded_bytes(row["image"]))).convert("RGB")
        return self.transform(image), row["label"]


def forms(split: datasets.Dataset, num_workers: int, folder: Path) -> dict[str, Callable[[], float]]:
    """Name and function of each way; the function gives top-1."""
    names = [str(number) for number in range(1000)]
    label2id = {name: number for number, name in enumerate(names)}
    model = ResNet50ForImageClassification(ResNet50Config(id2label=dict(enumerate(names)), label2id=label2id)).eval()
    save_model_and_processor(folder, model, image_processor(Preprocessing.by_ratio(224, 0.875, "bilinear", MEAN, STD)))
    device = torch.device("cpu")

    def ours(precision: str) -> Callable[[], float]:
        batches = ImageBatches(split, EvaluationTransform(Preprocessing(256, 224, "bilinear")))
        loader = DeviceLoader(batches, EvaluationSampler(len(split), BATCH_SIZE), device, MEAN, STD, num_workers)
        network = model.to(memory_format=torch.channels_last)

        def run() -> float:
            AcceleratorState._reset_state(reset_partial_state=True)
            said = predict(network, loader, Accelerator(cpu=True, mixed_precision=precision), names)
            return summarize(said)["top1"]["value"]

        return run

    theirs = timm.create_model("resnet50").eval()
    theirs.load_state_dict(model.state_dict())
    timms_loader = create_loader(
        Pictures(split), (3, 224, 224), BATCH_SIZE, use_prefetcher=False, interpolation="bilinear", mean=MEAN, std=STD,
        num_workers=num_workers, crop_pct=0.875, device=device, persistent_workers=num_workers > 0,
    )  # fmt: skip

    @torch.inference_mode()
    def timms() -> float:
        """As in its validate.py, less the printing."""
        top1, top5, losses, loss_of = AverageMeter(), AverageMeter(), AverageMeter(), torch.nn.CrossEntropyLoss()
        for images, target in timms_loader:
            output = theirs(images)
            loss = loss_of(output, target)
            acc1, acc5 = accuracy(output, target, topk=(1, 5))
            losses.update(loss.item(), len(images))
            top1.update(acc1.item(), len(images))
            top5.update(acc5.item(), len(images))
        return top1.avg / 100

    judge = evaluate.evaluator("image-classification")
    pictures = split.cast_column("image", datasets.Image())

    def evaluator() -> float:
        arguments = {"metric": TopKAccuracy(), "label_mapping": label2id}
        return judge.compute(str(folder), pictures, **arguments)["top1"]

    return {
        "timm's validation": timms,
        "`evaluate.evaluator`": evaluator,
        "`resnet50 evaluate`": ours("no"),
        "`resnet50 evaluate`, bf16": ours("bf16"),
    }


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("source")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num_workers", type=int, default=2)
    parser.add_argument("--cpu_time", action="store_true")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    if options.cpu_time:
        options.num_workers = 0
        torch.set_num_threads(1)
    split = load_evaluation_split(options.source)
    split = split.select(range(min(options.images, len(split))))
    datasets.disable_progress_bars()
    print(f"{hardware()}, {torch.get_num_threads()} threads, {len(split)} images; {versions()}")
    with tempfile.TemporaryDirectory() as folder:
        seconds = take_turns(forms(split, options.num_workers, Path(folder)), options.rounds, clock)
    speeds = {form: [len(split) / taken for taken in values] for form, values in seconds.items()}
    print_table("from files to top-1", "images/s", speeds, "timm's validation")
    parts = {"from files to top-1": ("images/s", "timm's validation", speeds)}
    keep("evaluation", {**vars(options), "source": Path(options.source).name}, parts, folder=options.out)

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50_000, 1000)).astype(np.float32)
    said = Predictions(logits, rng.integers(0, 1000, 50_000), [str(number) for number in range(1000)])
    taken, _ = spread(take_turns({"": lambda: summarize(said)}, 3, clock)[""])
    images_per_second, _ = spread(speeds["`resnet50 evaluate`"])
    print(
        f"\nmetrics of 50,000 images, with intervals, temperature and confusions: {taken:.1f} s, "
        f"{taken / (50_000 / images_per_second):.2%} of the time of `resnet50 evaluate` here"
    )


if __name__ == "__main__":
    main()
