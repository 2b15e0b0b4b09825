"""`resnet50 predict`: what a model sees in images."""

import argparse
import glob
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState

from resnet50_recipe.errors import UserError
from resnet50_recipe.exit_codes import ExitCode
from resnet50_recipe.terminal import say
from resnet50_recipe.words import counted

from ..data.decoding import UNREADABLE, decode_image
from ..data.file_names import as_utf8
from ..data.image_files import FORMATS_IN_WORDS, find_images
from ..data.notes import say_note
from ..evaluation.predictions import class_scores, ranked
from ..evaluation.results import to_json
from ..hub.classifiers import open_classifier
from .preparation import Preparation
from .typed_options import Changes, typed


if TYPE_CHECKING:
    from .prediction_table import PredictionTable


@torch.inference_mode()
def run(options: argparse.Namespace) -> None:
    """Name what images show."""
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise UserError(f"--threshold must be in [0, 1], got {options.threshold}")
    if options.topk < 1 or options.batch_size < 1:
        raise UserError("--topk and --batch_size must be at least 1")
    changes = typed(Changes, options)
    if options.embeddings and options.output is None:
        raise UserError("--embeddings need a file: --output FILE.parquet")
    table = _table(options.output, options.embeddings)
    paths = [path for argument in options.images for path in _paths(argument)]
    classifier = open_classifier(options.model, options.trust_remote_code, options.dtype)
    preprocessing = changes.applied_to(classifier.preprocessing)
    device = PartialState().device
    model = classifier.model.to(device).to(memory_format=torch.channels_last)
    preparation = Preparation(preprocessing, options.protocol)
    threshold = _threshold_of(model) if options.threshold is None else options.threshold
    if table is not None:
        table.watch(model)
    any_unreadable = False
    for start in range(0, len(paths), options.batch_size):
        pictures, readable = [], []
        for path in paths[start : start + options.batch_size]:
            try:
                pixels = decode_image(
                    Path(path).read_bytes(), preprocessing.num_channels, preprocessing.exif_orientation
                )
                pictures.append(preparation.crop(pixels))
                readable.append(path)
            except UNREADABLE as error:
                any_unreadable = True
                reason = getattr(error, "strerror", None) or str(error)  # an OSError repeats the path
                if table is not None:
                    table.add(path, [], error=reason)
                if options.json:
                    say(to_json({"image": as_utf8(path), "error": reason}))
                say(f"unreadable image: {as_utf8(path)}: {reason}", file=sys.stderr)
        if not pictures:
            continue
        pixel_values = preparation.normalize(torch.stack(pictures).to(device))
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        probabilities = class_scores(model(pixel_values=pixel_values).logits, model.config)
        classes = ranked(probabilities, options.topk)
        scores = probabilities.gather(-1, classes)
        for path, image_scores, image_classes in zip(readable, scores.tolist(), classes.tolist()):
            answers = [(classifier.label_names[label], score) for label, score in zip(image_classes, image_scores)]
            if table is not None:
                table.add(path, answers, threshold)
            if options.json or table is None:
                _show(as_utf8(path), answers, threshold, options.json)
    if table is not None:
        table.write(paths)
        say(f"{counted(len(paths), 'image')}: {options.output}", file=sys.stderr)
    if any_unreadable:
        sys.exit(ExitCode.FAILED)


def _table(path: Path | None, embeddings: bool) -> "PredictionTable | None":
    if path is None:
        return None
    from .prediction_table import PredictionTable  # with pyarrow, for who wants one

    return PredictionTable(path, embeddings)


def _paths(argument: str) -> list[str]:
    """The files that an argument stands for."""
    if argument == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")  # as `os` has names that are not UTF-8
        found = [line.strip() for line in sys.stdin if line.strip()]
        what = "no paths on standard input"
    elif Path(argument).is_dir():
        files = find_images(argument)
        if files.left_out:
            say_note(f"{argument}: left out, as no images that are read here: {files.left_out_in_words}")
        found = files.paths
        what = f"{argument} has no images ({FORMATS_IN_WORDS})"
    elif glob.has_magic(argument) and not Path(argument).exists():
        found = sorted(path for path in glob.glob(argument, recursive=True) if Path(path).is_file())
        what = f"no file matches {argument}"
    else:
        return [argument]
    if not found:
        raise UserError(what)
    return found


def _threshold_of(model: Any) -> float:
    """Its own, which `resnet50 evaluate --wanted_precision` found; else 0, so that it always answers."""
    return (getattr(model.config, "confidence_threshold", None) or {}).get("threshold") or 0.0


def _show(path: str, answers: list[tuple[str, float]], threshold: float, as_json: bool) -> None:
    """`answers`: the likeliest class first. Below the threshold, it is none of them."""
    is_none = answers[0][1] < threshold
    if as_json:
        predictions = [{"label": name, "score": score} for name, score in answers]
        about_none = {"threshold": threshold, "none": is_none} if threshold else {}
        say(to_json({"image": path, "predictions": predictions, **about_none}))
        return
    say(path)
    if is_none:
        say(f"  none: no class reaches {threshold:.2%}; most likely:")
    for name, score in answers:
        say(f"  {score:7.2%}  {name}")
