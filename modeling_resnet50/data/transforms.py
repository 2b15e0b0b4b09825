"""
From encoded bytes to uint8 pixels of the network's size. Normalisation happens later, on the device.

JPEG is decoded by simplejpeg (libjpeg-turbo): the same pixels as PIL, half as long. PIL decodes everything else, and
is the judge of any JPEG that simplejpeg refuses.
"""

import io
import math
import warnings
from contextlib import suppress

import numpy as np
import simplejpeg
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2


_EXIF_ORIENTATION = 0x0112


def decode_image(data: bytes) -> Tensor:
    """
    Decode any image PIL can read.

    Returns:
        RGB pixels, uint8, `(3, height, width)`, channels last in memory, turned upright as its EXIF data says (so do
        `datasets` and transformers' pipelines).

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: not an image, damaged, or absurdly large.
    """
    pixels = None
    if data[:3] == b"\xff\xd8\xff" and not _needs_pil(data):
        with suppress(ValueError):  # damaged, or a rare kind: PIL decides below
            pixels = simplejpeg.decode_jpeg(data)
    if pixels is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on metadata and palettes, once per image
            pixels = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _needs_pil(data: bytes) -> bool:
    """Whether a JPEG has to be turned, or is CMYK (simplejpeg rounds that differently). Reads the header only."""
    header = data[: data.find(b"\xff\xda")]  # up to the start of the first scan
    if b"Exif\0\0" not in header and b"Adobe" not in header:
        return False
    image = Image.open(io.BytesIO(data))
    return image.mode == "CMYK" or image.getexif().get(_EXIF_ORIENTATION, 1) != 1


def evaluation_transform(resize_size: int, crop_size: int, interpolation: str) -> nn.Module:
    """Short side to `resize_size` pixels, then the central square of `crop_size`: ImageNet's usual protocol."""
    return v2.Compose([
        v2.Resize(resize_size, interpolation=InterpolationMode(interpolation), antialias=True),
        v2.CenterCrop(crop_size),
    ])  # fmt: skip


def evaluation_resize_size(crop_size: int, crop_ratio: float) -> int:
    """Short side before the crop, rounded down as timm does: 224 at 0.875 gives 256."""
    return math.floor(crop_size / crop_ratio)
