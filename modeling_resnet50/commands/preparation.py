"""How a command prepares images for a model, by one of two libraries."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from torch import Tensor
from transformers import BitImageProcessor

from ..data.preprocessing import Preprocessing
from ..data.transforms import EvaluationTransform, ImageTransform, normalize_by
from ..hub.model_folder import image_processor


class Preparation:
    """
    How images are prepared for a model, by one of two libraries. Both do what its `Preprocessing` says, but round and
    resize in ways of their own: of an odd margin timm (and torchvision) crop half to even and transformers rounds
    down, timm resizes by PIL, transformers by torchvision, and where timm pads with the mean colour, transformers
    pads with black.

    Attributes:
        preprocessing: in numbers.
        crop: from a decoded image to the square, uint8.
        normalize: uint8 pixels `(batch, channels, height, width)` to what the network takes, float32.
    """

    crop: ImageTransform
    normalize: Callable[[Tensor], Tensor]

    def __init__(self, preprocessing: Preprocessing, library: Literal["timm", "transformers"] = "timm"):
        self.preprocessing = preprocessing
        if library == "transformers":
            processor = image_processor(preprocessing)
            self.crop = _ProcessorsCrop(processor)
            self.normalize = partial(
                processor.rescale_and_normalize,
                do_rescale=True,
                rescale_factor=processor.rescale_factor,
                do_normalize=True,
                image_mean=processor.image_mean,
                image_std=processor.image_std,
            )
        else:
            self.crop = EvaluationTransform(preprocessing)
            self.normalize = partial(normalize_by, preprocessing)


class _ProcessorsCrop(ImageTransform):
    """The processor, but for its last step, which is taken on the device."""

    def __init__(self, processor: BitImageProcessor):
        super().__init__()
        self.processor = processor

    def forward(self, pixels: Tensor) -> Tensor:
        unfinished: dict[str, Any] = {"do_convert_rgb": False, "do_rescale": False, "do_normalize": False}
        prepared = self.processor(pixels, input_data_format="channels_first", return_tensors="pt", **unfinished)
        return prepared["pixel_values"][0]
