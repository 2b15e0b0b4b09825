"""
For Hugging Face Inference Endpoints: put this file into the model's repository, beside config.json, and the endpoint
runs it. It needs nothing that is not in the endpoint's own container.

A request is a picture (Content-Type image/jpeg, image/png, …), or JSON: {"inputs": "<the file in base64>",
"parameters": {"top_k": 3}}.
"""

import base64
import binascii
import io
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import AutoImageProcessor, AutoModelForImageClassification


MAX_BYTES, MAX_PIXELS = 20_000_000, 50_000_000
MAX_RATIO = 100  # of its sides: resized by the short one, a strip of 1 × 20,000 pixels takes gigabytes
FORMATS = ["JPEG", "PNG", "WEBP"]  # Pillow knows dozens, with as many decoders to attack
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class EndpointHandler:
    """
    Args:
        path: of the repository, as the toolkit gives it.
    """

    def __init__(self, path: str = ""):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = AutoModelForImageClassification.from_pretrained(path, trust_remote_code=True)
        self.model = model.to(self.device).eval()
        self.processor = AutoImageProcessor.from_pretrained(path)

    @torch.inference_mode()
    def __call__(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        """
        Args:
            data: `inputs`, a picture as the toolkit has opened it, the bytes of its file, or these in base64; and
                `parameters`, with `top_k` (default 5).

        Returns:
            The most likely classes, `label` and `score`, the first first. Where that is below the model's own
            `threshold`, which `resnet50 evaluate --wanted_precision` found, "none" comes before them, with the chance
            that the first is wrong.

        Raises:
            ValueError: no picture, a large one, or no such number; the endpoint answers with its text.
        """
        top_k = (data.get("parameters") or {}).get("top_k", 5)
        if not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"top_k must be a number above 0, got {top_k!r}")
        image = self._upright(_opened(data.get("inputs")))
        done = {}
        if getattr(self.processor, "crop_mode", "center") == "pad":
            image, done = _padded(image, self.processor), {"do_resize": False, "do_center_crop": False}
        pixel_values = self.processor(image, return_tensors="pt", **done)["pixel_values"].to(self.device)
        config = self.model.config
        logits = self.model(pixel_values=pixel_values).logits[0].float()
        several = config.problem_type == "multi_label_classification" or config.num_labels == 1
        scores, labels = (logits.sigmoid() if several else logits.softmax(-1)).sort(descending=True)
        best = zip(scores[:top_k].tolist(), labels[:top_k].tolist())
        answers = [{"label": config.id2label[label], "score": score} for score, label in best]
        threshold = (getattr(config, "confidence_threshold", None) or {}).get("threshold") or 0.0
        if answers[0]["score"] < threshold:
            answers.insert(0, {"label": "none", "score": 1 - answers[0]["score"], "threshold": threshold})
        return answers

    def _upright(self, image: Image.Image) -> Image.Image:
        if image.width * image.height > MAX_PIXELS:  # by its first bytes: nothing is decoded yet
            raise ValueError(f"the picture has more than {MAX_PIXELS:,} pixels")
        if max(image.size) > MAX_RATIO * min(image.size):
            raise ValueError(f"the picture is more than {MAX_RATIO} times as long as wide")
        try:
            image.load()
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError("the picture is damaged") from error
        if getattr(self.processor, "exif_orientation", "apply") == "apply":
            image = ImageOps.exif_transpose(image)
        if image.mode == "I;16":  # of which Pillow would make white whatever is above 255
            image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
        return image.convert(MODES[self.model.config.num_channels])


def _padded(image: Image.Image, processor: Any) -> Image.Image:
    """All of a picture, in a square of the mean colour: transformers itself would pad with black."""
    size, side = processor.size["max_height"], processor.crop_size["height"]
    ratio = max(length / size for length in image.size)
    image = image.resize([max(1, round(length / ratio)) for length in image.size], processor.resample)
    square = Image.new(image.mode, (side, side), tuple(round(255 * mean) for mean in processor.image_mean))
    corner = [(side - n) // 2 if n <= side else -round((n - side) / 2) for n in image.size]
    square.paste(image, corner)
    return square


def _opened(inputs: Any) -> Image.Image:
    if isinstance(inputs, Image.Image):
        return inputs
    try:
        if isinstance(inputs, str):
            if len(inputs) > 4 * (MAX_BYTES // 3 + 1):
                raise ValueError(f"the file has more than {MAX_BYTES:,} bytes")
            inputs = base64.b64decode(inputs, validate=True)
        if not isinstance(inputs, bytes):
            raise ValueError("inputs must be a picture, or the file of one in base64")
        if len(inputs) > MAX_BYTES:
            raise ValueError(f"the file has more than {MAX_BYTES:,} bytes")
        return Image.open(io.BytesIO(inputs), formats=FORMATS)
    except (OSError, binascii.Error, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"no picture of a kind that is read here ({', '.join(FORMATS)})") from error
