"""How far an exported file that takes photos answers otherwise than the model and Pillow's preparation do."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import BitImageProcessor

from ..evaluation.predictions import class_scores
from ..modeling_resnet50 import ResNet50ForImageClassification
from .image_graph import prepared_by_pillow


# Height and width of pictures that are made up: upright, lying, small, odd, and one larger than most.
_SIZES = [(375, 500), (500, 333), (224, 224), (97, 640), (31, 30), (481, 321), (1, 9), (1024, 768)]


@dataclass(frozen=True)
class Agreement:
    """
    Attributes:
        images: on which it was measured.
        levels: the largest difference of a prepared pixel, of 255, before normalisation.
        same_top1: images with the same most likely class.
        probability: the largest difference of a probability.
    """

    images: int
    levels: float
    same_top1: int
    probability: float

    def __str__(self) -> str:
        return (
            f"pixels at most {self.levels:.0f} of 255 levels apart, the same class first on {self.same_top1:,} of "
            f"{self.images:,} images, probabilities at most {self.probability:.2g} apart"
        )


@torch.inference_mode()
def measure_agreement(
    images: Iterable[Tensor],
    model: ResNet50ForImageClassification,
    processor: BitImageProcessor,
    prepare: Callable[[Tensor], Tensor],
    answers: dict[str, Callable[[Tensor], Tensor]],
) -> dict[str, Agreement]:
    """
    Args:
        images: uint8 `(height, width, channels)`, at least one.
        model, processor: which the files were made of.
        prepare: of all files: from one image as a batch to `pixel_values`.
        answers: of each file, by its name: from one image as a batch to probabilities.

    Returns:
        That of each file, by its name.
    """
    by_pillow = prepared_by_pillow(processor)
    std = torch.tensor(processor.image_std).view(-1, 1, 1)
    levels: list[float] = []
    same: dict[str, list[bool]] = {name: [] for name in answers}
    apart: dict[str, list[float]] = {name: [] for name in answers}
    for image in images:
        expected_pixels, pixels = by_pillow(image), prepare(image[None])
        levels.append((255 * std * (pixels - expected_pixels)).abs().max().item())
        expected = class_scores(model(expected_pixels.to(model.dtype)).logits, model.config)
        for name, answer in answers.items():
            found = answer(image[None])
            same[name].append(bool(expected.argmax() == found.argmax()))
            apart[name].append((found - expected).abs().max().item())
    return {name: Agreement(len(levels), max(levels), sum(same[name]), max(apart[name])) for name in answers}


def made_up_photos(num_channels: int) -> Iterator[Tensor]:
    """Pictures with shapes and grain, uint8 `(height, width, num_channels)`, of sizes that photos and icons have."""
    for seed, (height, width) in enumerate(_SIZES):
        rng = np.random.default_rng(seed)
        rows, columns = np.mgrid[:height, :width] / 40
        waves = [np.sin(rows * a + columns * b + c) for a, b, c in rng.uniform(-3, 3, (num_channels, 3))]
        picture = 128 + 90 * np.stack(waves, axis=-1) + rng.normal(0, 25, (height, width, num_channels))
        yield torch.from_numpy(picture.clip(0, 255).astype(np.uint8))
