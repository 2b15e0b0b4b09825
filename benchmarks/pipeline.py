"""
From JPEG files to batches of training images, beside the peers' loaders and the limits of the machine.

    python -m benchmarks pipeline SOURCE [--rounds 7] [--two_cores]

SOURCE is what `dataset_name` takes: real photographs, such as some hundred of ImageNet's. Random crop to 224 pixels
and flip, batches of 64, nothing else. Each form gives what its users move to the device: 8-bit batches, or floats that
are normalised. DALI, with region decode on the CPU, and ffcv take part where they are installed.

On one core, the CPU seconds of the one process that does everything. With --two_cores, seconds on the clock of two
worker processes. "Packed" are the same images as `resnet50 prepare folder --pack` writes them.
"""

import io
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import datasets
import numpy as np
import simplejpeg
import torch
from PIL import Image
from timm.data import create_loader
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import v2

from modeling_resnet50.data.augmentation import TrainingTransform
from modeling_resnet50.data.decoding import encoded_bytes
from modeling_resnet50.data.loader import ImageBatches
from modeling_resnet50.data.sampling import TrainSampler
from modeling_resnet50.data.sources import load_evaluation_split
from modeling_resnet50.prepare.pack import pack
from resnet50_recipe.training_arguments import TrainingArguments

from .common import argument_parser, hardware, keep, print_table, take_turns, versions


SIZE = 224
BATCH_SIZE = 64
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("source")
    parser.add_argument("--images", type=int, help="whole batches of 64 (default: 192; 1536 with --two_cores)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--two_cores", action="store_true")
    options = parser.parse_args()
    options.images = options.images or (24 if options.two_cores else 3) * BATCH_SIZE  # workers take whole batches
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    num_workers, clock = (2, time.perf_counter) if options.two_cores else (0, time.process_time)
    split = load_evaluation_split(options.source)
    split = split.select(np.resize(np.arange(len(split)), options.images // BATCH_SIZE * BATCH_SIZE))
    with tempfile.TemporaryDirectory() as folder:
        small = _packed(split, Path(folder) / "packed")
        forms = {
            "transformers example": transformers_example(split, num_workers),
            "timm create_loader": timm_loader(split, num_workers),
            "torchvision reference, PIL": torchvision_reference(split, num_workers, "pil"),
            "torchvision reference, tensor": torchvision_reference(split, num_workers, "tensor"),
            **dali(split, 1 + options.two_cores),
            "ours": ours(split, num_workers),
            "ours, without `datasets`: files in a list": ours(split, num_workers, in_memory=True),
            "ours, nvimgcodec": ours(split, num_workers, jpeg_decoder="nvimgcodec"),
            "ours, 160 pixels": ours(split, num_workers, image_size=160),
            "transformers example, packed": transformers_example(small, num_workers),
            **ffcv(small, Path(folder) / "packed.beton", 1 + options.two_cores),
            "ours, packed": ours(small, num_workers),
            "ours, nvimgcodec, packed": ours(small, num_workers, jpeg_decoder="nvimgcodec"),
            **({} if options.two_cores else limits(split)),
        }
        print(f"{hardware()}; {', '.join(' '.join(pair) for pair in versions().items())}")
        seconds = take_turns(forms, options.rounds, clock)
    cores = "two cores, wall time" if options.two_cores else "one core, CPU time"
    images_per_second = {form: [len(split) / taken for taken in values] for form, values in seconds.items()}
    title = f"JPEG to batch, {cores}"
    print_table(title, "images/s", images_per_second, "transformers example")
    mean_size = sum(len(encoded_bytes(row)) for row in split["image"]) / len(split)
    settings = {**vars(options), "bytes per image": round(mean_size)}
    parts = {title: ("images/s", "transformers example", images_per_second)}
    keep(
        f"pipeline_{1 + options.two_cores}",
        settings,
        parts,
        packages=("nvidia-dali-cuda130", "ffcv", "simplejpeg"),
        folder=options.out,
    )


def _packed(split: datasets.Dataset, folder: Path) -> datasets.Dataset:
    """At short side 256, as `prepare` writes it."""
    pack(datasets.DatasetDict(validation=split), folder, short_side=256)
    return load_evaluation_split(str(folder))


def _drained(batches: Iterable) -> Callable[[], None]:
    def run() -> None:
        for _ in batches:
            pass

    return run


def ours(
    split: datasets.Dataset, num_workers: int, image_size: int = SIZE, in_memory: bool = False, **decoder: str
) -> Callable[[], None]:
    recipe = TrainingArguments(image_size=image_size, total_train_batch_size=BATCH_SIZE)
    batches = ImageBatches(split, TrainingTransform(recipe), **decoder)
    if in_memory:
        batches.images = _Rows(split["image"][:])
    loader = DataLoader(
        batches,
        batch_sampler=TrainSampler(len(split), BATCH_SIZE, seed=0),
        collate_fn=lambda batch: batch,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )
    return _drained(loader)


class _Rows:
    """What a `datasets.Dataset` gives, from a list."""

    def __init__(self, rows: list[dict]):
        self.rows = rows

    def __getitem__(self, indices: list[int]) -> dict[str, list[dict]]:
        return {"image": [self.rows[index] for index in indices]}


def transformers_example(split: datasets.Dataset, num_workers: int) -> Callable[[], None]:
    """As run_image_classification_no_trainer.py has it: `with_transform`, PIL, floats."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    def transformed(rows):
        rows["pixel_values"] = [transform(image.convert("RGB")) for image in rows["image"]]
        return rows

    def collate(rows):
        pixel_values = torch.stack([row["pixel_values"] for row in rows])
        return {"pixel_values": pixel_values, "labels": torch.tensor([row["label"] for row in rows])}

    pictures = split.cast_column("image", datasets.Image()).with_transform(transformed)
    return _drained(
        DataLoader(
            pictures, BATCH_SIZE, shuffle=True, collate_fn=collate, num_workers=num_workers,
            persistent_workers=num_workers > 0,
        )
    )  # fmt: skip


class _Files(Dataset):
    """Encoded images in a list: what reading costs is left out."""

    def __init__(self, split: datasets.Dataset, transform: Callable | None = None):
        self.files = [encoded_bytes(image) for image in split["image"]]
        self.labels = split["label"][:]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        return self.transform(_by_pil(self.files[index])), self.labels[index]


def _by_pil(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def timm_loader(split: datasets.Dataset, num_workers: int) -> Callable[[], None]:
    """Up to the 8-bit batch, which its prefetcher normalises on the device."""
    loader = create_loader(
        _Files(split), (3, SIZE, SIZE), BATCH_SIZE, is_training=True, interpolation="random", mean=MEAN, std=STD,
        num_workers=num_workers, persistent_workers=num_workers > 0, device=torch.device("cpu"), pin_memory=False,
    )  # fmt: skip
    return _drained(loader.loader)


def torchvision_reference(split: datasets.Dataset, num_workers: int, backend: str) -> Callable[[], None]:
    """As `ClassificationPresetTrain` of references/classification has it."""
    steps = [v2.PILToTensor()] if backend == "tensor" else []
    steps += [v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip()]
    steps += [v2.PILToTensor()] if backend == "pil" else []
    steps += [v2.ToDtype(torch.float, scale=True), v2.Normalize(MEAN, STD), v2.ToPureTensor()]
    files = _Files(split, v2.Compose(steps))
    return _drained(
        DataLoader(
            files, BATCH_SIZE, shuffle=True, num_workers=num_workers, persistent_workers=num_workers > 0
        )
    )  # fmt: skip


def dali(split: datasets.Dataset, threads: int) -> dict[str, Callable[[], None]]:
    """
    As NVIDIA's ImageNet examples have it, on the CPU: only the crop is decoded, then resized and normalised. They
    resize without antialiasing, which all others here do.
    """
    try:
        from nvidia.dali import fn, pipeline_def, types
    except ImportError:
        return {}
    files = [np.frombuffer(encoded_bytes(image), np.uint8) for image in split["image"]]

    @pipeline_def(batch_size=BATCH_SIZE, num_threads=threads, device_id=None, seed=0, prefetch_queue_depth=1)
    def images(antialias: bool):
        data = fn.external_source(lambda sample: files[sample.idx_in_epoch % len(files)], batch=False)
        crops = fn.decoders.image_random_crop(
            data, device="cpu", random_area=[0.08, 1.0], random_aspect_ratio=[0.75, 4 / 3], num_attempts=100
        )
        crops = fn.resize(crops, size=SIZE, interp_type=types.INTERP_LINEAR, antialias=antialias)
        return fn.crop_mirror_normalize(
            crops, dtype=types.FLOAT, output_layout="CHW", mirror=fn.random.coin_flip(),
            mean=[255 * mean for mean in MEAN], std=[255 * std for std in STD],
        )  # fmt: skip

    def form(antialias: bool) -> Callable[[], None]:
        pipeline = images(antialias)
        pipeline.build()

        def run() -> None:
            for _ in range(len(files) // BATCH_SIZE):
                pipeline.run()

        return run

    return {"DALI on CPU, region decode": form(False), "DALI on CPU, antialiased as the others": form(True)}


def ffcv(split: datasets.Dataset, file: Path, threads: int) -> dict[str, Callable[[], None]]:
    """As ffcv-imagenet's loader has it, but for the device: its format, cropped and flipped to 8-bit tensors."""
    try:
        from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder, RGBImageField
        from ffcv.loader import Loader, OrderOption
        from ffcv.transforms import RandomHorizontalFlip, ToTensor, ToTorchImage
        from ffcv.writer import DatasetWriter
    except ImportError:
        return {}
    files = _Files(split, np.asarray)
    writer = DatasetWriter(str(file), {"image": RGBImageField(write_mode="jpg", jpeg_quality=90)}, num_workers=1)
    writer.from_indexed_dataset(_Pixels(files))
    loader = Loader(
        str(file), batch_size=BATCH_SIZE, num_workers=threads, order=OrderOption.RANDOM, os_cache=True,
        pipelines={"image": [RandomResizedCropRGBImageDecoder((SIZE, SIZE)), RandomHorizontalFlip(), ToTensor(),
                             ToTorchImage()]},
    )  # fmt: skip
    return {"ffcv, packed": _drained(loader)}


class _Pixels(Dataset):
    def __init__(self, files: _Files):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        return (self.files[index][0],)


def limits(split: datasets.Dataset) -> dict[str, Callable[[], None]]:
    """Decoding whole images and nothing else; copying as many bytes as the batches have."""
    files = [encoded_bytes(image) for image in split["image"]]
    source = torch.zeros(BATCH_SIZE, 3, SIZE, SIZE, dtype=torch.uint8)
    target = torch.empty_like(source)

    def decode() -> None:
        for data in files:
            simplejpeg.decode_jpeg(data, strict=False)

    def copy() -> None:
        for _ in range(len(files) // BATCH_SIZE):
            target.copy_(source)

    return {"limit: libjpeg-turbo decodes the whole image": decode, "limit: memory copy of the batches": copy}


if __name__ == "__main__":
    main()
