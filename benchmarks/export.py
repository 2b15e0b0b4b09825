"""
One ResNet-50 in every format and runtime: size, answers and speed beside PyTorch, in one table. And photos as they
are, through files with preprocessing, beside Pillow.

    python -m benchmarks export [--dataset FOLDER_OR_PARQUET] [--images 200] [--batch_size 8] [--litert_python PATH]

The weights are random, but the classifier is fitted to the images, so that its logits are as far apart as those of a
trained network. LiteRT's converter wants an older PyTorch: `--litert_python` is the Python of an environment that has
litert-torch beside this package's dependencies.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.decoding import EncodedImage
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.sources import load_evaluation_split
from modeling_resnet50.hub.agreement import made_up_photos, measure_agreement
from modeling_resnet50.hub.backends import Backend, backends_of
from modeling_resnet50.hub.exported_program import export_image_program
from modeling_resnet50.hub.image_graph import ImagePreparation, prepared_by_pillow
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.hub.onnx import export_onnx, open_session
from modeling_resnet50.hub.onnx_preprocessing import PREPROCESSING_FILE, add_preprocessing
from modeling_resnet50.hub.quantization import Int8Quantizer
from modeling_resnet50.hub.runtimes import export_openvino

from .common import argument_parser, hardware, keep, print_table, spread, take_turns, versions


LITERT_WORKER = Path(__file__).parent / "litert_worker.py"


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--dataset", help="photos; default: pictures that are made up")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--small", action="store_true", help="a network of seconds, to try this script")
    parser.add_argument("--litert_python", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    processor = image_processor(
        Preprocessing.by_ratio(224, 0.875, "bicubic", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    prepare = prepared_by_pillow(processor)
    pixel_values = torch.cat([prepare(photo) for photo in photos(options)])
    model = fitted(pixel_values, options.small)
    print(f"{hardware()}, {options.threads} threads; {versions('onnxruntime', 'openvino', 'executorch')}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        found = list(runtimes(model, processor, pixel_values, folder, options))
        speeds = measured(found, pixel_values, options)
        with_preprocessing(model, processor, folder, options)
    keep(
        "export",
        vars(options),
        {"exports": ("images/s", "PyTorch float32", speeds)},
        None,
        ("onnxruntime",),
        options.out,
    )


def photos(options: argparse.Namespace) -> Iterator[Tensor]:
    """uint8 `(height, width, 3)`."""
    if options.dataset is None:
        yield from made_up_photos(3)
        return
    split = load_evaluation_split(options.dataset, None)
    for index in range(min(len(split), options.images)):
        yield EncodedImage(split[index]["image"], f"row {index}")[:, :, :].permute(1, 2, 0)


@torch.no_grad()
def fitted(pixel_values: Tensor, small: bool) -> ResNet50ForImageClassification:
    """Random weights, and a classifier that gives each image a class of its own, by ridge regression."""
    torch.manual_seed(0)
    sizes = {"depths": [1, 1], "hidden_sizes": [16, 32], "embedding_size": 16} if small else {}
    model = ResNet50ForImageClassification(ResNet50Config(num_labels=len(pixel_values), **sizes)).eval()
    features: list[Tensor] = []
    hook = model.fc.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    for part in pixel_values.split(8):
        model(pixel_values=part)
    hook.remove()
    inputs = torch.cat(features).double()
    centred = inputs - inputs.mean(0)
    gram = centred @ centred.T
    gram += 1e-3 * gram.diagonal().mean() * torch.eye(len(gram))
    weight = torch.linalg.solve(gram, 10 * torch.eye(len(inputs), dtype=torch.double)).T @ centred
    model.fc.weight.copy_(weight)
    model.fc.bias.copy_(-weight @ inputs.mean(0))
    return model


def runtimes(model, processor, pixel_values: Tensor, folder: Path, options: argparse.Namespace) -> Iterator[Backend]:
    save_model_and_processor(folder / "model", model, processor)
    yield from backends_of(str(folder / "model"), torch.device("cpu"), options.threads, folder / "exports")
    (folder / "more").mkdir()
    export_onnx(model, processor, folder / "more")
    target = folder / "more" / "onnx" / "model_quantized.onnx"
    parts = [part.numpy() for part in pixel_values.split(8)]
    Int8Quantizer(folder / "more" / "onnx" / "model.onnx", parts).write(target)
    yield from backends_of(str(target), torch.device("cpu"), options.threads, folder)
    (folder / "halved").mkdir()
    export_openvino(model, processor, folder / "halved", fp16=True)
    (halved,) = backends_of(str(folder / "halved"), torch.device("cpu"), options.threads, folder)
    yield Backend("OpenVINO, weights float16", *list(vars(halved).values())[1:])
    if options.litert_python is not None:
        yield litert(folder, options)


def litert(folder: Path, options: argparse.Namespace) -> Backend:
    """By another Python, which is asked over a pipe."""
    command = [options.litert_python, LITERT_WORKER, folder / "model", folder / "model.tflite", str(options.threads)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None
    assert worker.stdout is not None
    version = worker.stdout.readline().decode().strip()

    def run(images: np.ndarray) -> np.ndarray:
        np.save(folder / "images.npy", images)
        worker.stdin.write(f"{folder / 'images.npy'}\n".encode())
        worker.stdin.flush()
        worker.stdout.readline()
        return np.load(folder / "logits.npy")

    return Backend("LiteRT", "float32", version, run, (folder / "model.tflite").stat().st_size, (3, 224, 224))


def measured(found: list[Backend], pixel_values: Tensor, options: argparse.Namespace) -> dict[str, list[float]]:
    """Print the table; images per second of each in each round."""
    parts = [part.numpy() for part in pixel_values.split(options.batch_size)]
    names = [f"{backend.name} {backend.precision}" for backend in found]
    answers = [np.concatenate([backend.run(part) for part in parts]) for backend in found]
    first = pixel_values[: options.batch_size].numpy()
    seconds = take_turns({name: lambda b=backend: b.run(first) for name, backend in zip(names, found)}, options.rounds)
    speeds = {name: [len(first) / taken for taken in values] for name, values in seconds.items()}
    base = spread(speeds[names[0]])[0]
    print(f"\n{len(pixel_values)} images, logits up to {np.abs(answers[0]).max():.1f}; batch {len(first)}\n")
    print("| runtime | version | MB | logits apart | top-1 the same | images/s | ratio |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, backend, answer in zip(names, found, answers):
        apart = np.abs(answer - answers[0]).max()
        same = (answer.argmax(1) == answers[0].argmax(1)).mean()
        speed = spread(speeds[name])[0]
        print(
            f"| {name} | {backend.version} | {backend.bytes / 1e6:.1f} | {apart:.1g} | {same:.1%} | {speed:.1f} | "
            f"{speed / base:.2f} |"
        )
    return speeds


def with_preprocessing(model, processor, folder: Path, options: argparse.Namespace) -> None:
    """Photos as they are, beside Pillow; and what the preparation in the graph takes."""
    files = add_preprocessing(folder / "more", processor, model.config)
    preparation = open_session(folder / "more" / "onnx" / PREPROCESSING_FILE, options.threads)

    def prepare(images: Tensor) -> Tensor:
        return torch.from_numpy(preparation.run(None, {"images": images.numpy()})[0])

    def answer(images: Tensor, session) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    answers = {path.name: partial(answer, session=open_session(path, options.threads)) for path in files}
    print()
    for name, agreement in measure_agreement(photos(options), model, processor, prepare, answers).items():
        print(f"{name}: {agreement}")
    export_image_program(model, processor, folder / "photos.pt2")
    program = torch.export.load(folder / "photos.pt2").module()
    in_torch = ImagePreparation.of(processor)
    (agreement,) = measure_agreement(photos(options), model, processor, in_torch, {"": program}).values()
    print(f"torch.export: {agreement}")
    by_pillow = prepared_by_pillow(processor)
    speeds = {}
    for height, width in ((375, 500), (1200, 1600), (3000, 4000)):
        photo = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8)
        turns = {"Pillow": lambda p=photo: by_pillow(p), "graph": lambda p=photo: prepare(p[None])}
        for name, taken in take_turns(turns, options.rounds).items():
            speeds[f"{name}, {height} × {width}"] = [1000 * value for value in taken]
    print_table("the preparation alone", "ms", speeds, "Pillow, 375 × 500")


if __name__ == "__main__":
    main()
