"""The HTML page of an evaluation, from its images and models."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL.Image
import torch
from torchvision.transforms.v2.functional import to_pil_image

from ..data.decoding import decode_image, encoded_bytes
from ..data.transforms import EvaluationTransform, normalize_by
from ..evaluation.grad_cam import grad_cam
from ..evaluation.predictions import Predictions
from ..evaluation.report import write_report
from ..hub.classifiers import Classifier


def write_html_report(
    named: dict[str, Predictions],
    classifier: Classifier,
    dataset: datasets.Dataset,
    results: dict[str, Any],
    path: Path,
) -> None:
    """The report, with heat maps where the first model is a ResNet that gives its feature maps."""
    preprocessing = classifier.preprocessing
    transform = EvaluationTransform(preprocessing)
    device: Any = classifier.model.device
    # A probe's classes are the data's, and not those of the model.
    has_maps = classifier.has_maps and next(iter(results["models"].values()))["probe"] is None

    def pixels(row: int) -> torch.Tensor:
        data = encoded_bytes(dataset[row]["image"])
        return transform(decode_image(data, preprocessing.num_channels, preprocessing.exif_orientation))

    def image(row: int) -> PIL.Image.Image:
        return to_pil_image(pixels(row))

    def cam(row: int, label: int) -> np.ndarray:
        pixel_values = normalize_by(preprocessing, pixels(row))[None].to(device)
        return grad_cam(classifier.model, pixel_values, torch.tensor([label], device=device))[0].cpu().numpy()

    write_report(path, named, image, results, cam if has_maps else None)
