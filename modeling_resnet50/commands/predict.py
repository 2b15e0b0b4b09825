"""`resnet50 predict`: what a model sees in images."""

import argparse
import glob
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from torchvision.datasets.folder import IMG_EXTENSIONS

from resnet50_cli.exit_codes import ExitCode

from ..data.transforms import UNREADABLE, decode_image, evaluation_transform, normalize
from ..errors import UserError
from ..evaluation.results import to_json
from ..hub.classifiers import open_classifier
from ..hub.model_folder import exif_orientation_of
from .evaluation_data import protocol, set_protocol


@torch.inference_mode()
def run(options: argparse.Namespace) -> None:
    """Name what images show."""
    if options.topk < 1 or options.batch_size < 1:
        raise UserError("--topk and --batch_size must be at least 1")
    paths = [path for argument in options.images for path in _paths(argument)]
    classifier = open_classifier(options.model, options.trust_remote_code)
    set_protocol(classifier.processor, options)
    device = PartialState().device
    model = classifier.model.to(device).to(memory_format=torch.channels_last)
    transform = evaluation_transform(*protocol(classifier.processor))
    exif_orientation = exif_orientation_of(classifier.processor)
    mean, std = (
        torch.tensor(values, device=device).view(3, 1, 1)
        for values in (classifier.processor.image_mean, classifier.processor.image_std)
    )
    any_unreadable = False
    for start in range(0, len(paths), options.batch_size):
        pictures, readable = [], []
        for path in paths[start : start + options.batch_size]:
            try:
                pictures.append(transform(decode_image(Path(path).read_bytes(), exif_orientation)))
                readable.append(path)
            except UNREADABLE as error:
                any_unreadable = True
                reason = getattr(error, "strerror", None) or str(error)  # an OSError repeats the path
                if options.json:
                    print(to_json({"image": path, "error": reason}))
                print(f"unreadable image: {path}: {reason}", file=sys.stderr)
        if not pictures:
            continue
        pixel_values = normalize(torch.stack(pictures).to(device), mean, std)
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        probabilities = model(pixel_values=pixel_values).logits.float().softmax(-1)
        scores, classes = probabilities.topk(min(options.topk, probabilities.shape[1]))
        for path, image_scores, image_classes in zip(readable, scores.tolist(), classes.tolist()):
            answers = [(classifier.label_names[label], score) for label, score in zip(image_classes, image_scores)]
            _show(path, answers, options.json)
    if any_unreadable:
        sys.exit(ExitCode.FAILED)


def _paths(argument: str) -> list[str]:
    """The files that an argument stands for."""
    if argument == "-":
        found = [line.strip() for line in sys.stdin if line.strip()]
        what = "no paths on standard input"
    elif Path(argument).is_dir():
        found = [str(path) for path in sorted(Path(argument).rglob("*")) if path.suffix.lower() in IMG_EXTENSIONS]
        what = f"{argument} has no images ({', '.join(IMG_EXTENSIONS)})"
    elif glob.has_magic(argument) and not Path(argument).exists():
        found = sorted(path for path in glob.glob(argument, recursive=True) if Path(path).is_file())
        what = f"no file matches {argument}"
    else:
        return [argument]
    if not found:
        raise UserError(what)
    return found


def _show(path: str, answers: list[tuple[str, float]], as_json: bool) -> None:
    if as_json:
        print(to_json({"image": path, "predictions": [{"label": name, "score": score} for name, score in answers]}))
        return
    print(path)
    for name, score in answers:
        print(f"  {score:7.2%}  {name}")
