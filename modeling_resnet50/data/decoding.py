"""
From encoded bytes to uint8 pixels.

JPEG is decoded by simplejpeg (libjpeg-turbo): the same pixels as PIL, half as long. PIL decodes everything else. Where
a recipe asks for it, nvImageCodec decodes no more of a JPEG than the crop: again the same pixels.
"""

import io
import os
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import simplejpeg
import torch
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from resnet50_recipe.errors import UserError

from .file_names import path_from_text
from .preprocessing import ExifOrientation


# What PIL raises for files that are damaged in one way or another.
UNREADABLE = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip

# Not all that PIL knows: EPS, for one, is a program, and PIL would run it.
# DIB is BMP without the header of a file.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
IMAGE_ENDINGS = frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in _FORMATS)

IMAGE_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # PIL's, by the number of channels

# Of the longer side to the shorter one. Resized by its short side, a strip of 1 × 20,000 pixels takes 5 GB.
_MOST_SLENDER = 1000

_JPEG = b"\xff\xd8\xff"
_FOUR_COLOURS = ("CMYK", "YCCK")
_TIFF_BITS = 258
_TIFF_PHOTOMETRIC = 262  # 0: white is zero
_TIFF_SUBFILE = 254  # bit 0: a smaller copy of another picture in the file
_TIFF_SUBFILES = 330
_TIFF_DNG = 50706
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTED = re.compile(rb"Exif\0\0|ns\.adobe\.com/xap")  # EXIF, or the same in XMP
# libjpeg's warnings that mean wrong pixels, and much of the picture lost. Others, such as bytes too many before a
# marker, are found in whole photos too, but a flipped bit gives them as well.
_DAMAGE = re.compile("(?i)huffman|premature end|arithmetic|progression")


def encoded_bytes(image: dict[str, Any] | None) -> bytes:
    """
    The file behind a row of an `Image(decode=False)` column: its bytes are in the row, or at the path there.

    Raises:
        OSError: no such file, or it cannot be read.
        ValueError: there is no image in the row.
    """
    if image is not None and image["bytes"] is not None:
        return image["bytes"]
    path = stored_path(image)
    if path is None:
        raise ValueError("there is no image in the row")
    return path_from_text(path).read_bytes()


def stored_path(image: dict[str, Any] | None) -> str | None:
    """The path, or mere name, that such a row has for its image, if any."""
    return image["path"] if image is not None else None


def is_image(path: str) -> bool:
    """Whether a file, by its first bytes, is of a format that `decode_image` takes."""
    try:
        with _quiet(), Image.open(path, formats=_FORMATS) as image:
            return not _is_a_thumbnail(image)
    except Image.DecompressionBombError:
        return True  # of that format; it is refused when it is decoded
    except UNREADABLE:
        return False


def decode_image(data: bytes, num_channels: int = 3, exif_orientation: ExifOrientation = "apply") -> Tensor:
    """
    Decode JPEG, PNG, WebP, BMP, GIF, TIFF, PPM, JPEG 2000 or AVIF, whatever the file's name says: as transformers'
    pipelines and timm do, but for what those take in silence. Here 16 bits become 8 by scaling, not by clipping, and
    a JPEG whose pixels are damaged is an error.

    Whatever its colours, it becomes what PIL makes of them; transparency is dropped unless there are four channels,
    and of an animation the first picture is taken.

    Args:
        data: the file's content.
        num_channels: 1 (grey), 3 (RGB) or 4 (RGB and opacity): PIL's `convert` to L, RGB or RGBA.
        exif_orientation: "apply" turns the picture upright as its EXIF data say: so do `datasets`, transformers'
            pipelines and, but for AVIF, OpenCV. "ignore" leaves it as it is stored: so do timm, torchvision and ffcv.

    Returns:
        Pixels, uint8, `(num_channels, height, width)`, channels last in memory.

    Raises:
        UNREADABLE: not an image, damaged, absurdly large or slender, of 32 bits, which have no agreed range, or a
            camera's raw file, as DNG, whose first picture is a thumbnail.
    """
    return decode_with_warning(data, num_channels, exif_orientation)[0]


def decode_with_warning(
    data: bytes, num_channels: int = 3, exif_orientation: ExifOrientation = "apply"
) -> tuple[Tensor, str | None]:
    """`decode_image`, and what libjpeg remarks on a JPEG that can be decoded nonetheless: its pixels may be wrong."""
    is_plain_jpeg = _size_of_plain_jpeg(data, exif_orientation) is not None
    pixels, warning = _decode(data, is_plain_jpeg, IMAGE_MODES[num_channels], exif_orientation)
    return torch.from_numpy(pixels).permute(2, 0, 1), warning


def require_known_channels(num_channels: int, name: str) -> None:
    """
    Raises:
        UserError: images cannot be read with so many channels. `name` says whose they are.
    """
    if num_channels not in IMAGE_MODES:
        raise UserError(f"{name} has {num_channels} channels; images are read with 1 (grey), 3 (RGB) or 4 (RGBA)")


class EncodedImage:
    """
    An image that is decoded when it is sliced, like an array on disk: `image[:, top:bottom, left:right]` gives pixels
    as `decode_image` does. They are not kept: slice once.

    Args:
        row: of an `Image(decode=False)` column.
        name: for errors.
        decoder: "nvimgcodec" decodes no more than the slice, and does not notice damage.
        num_channels, exif_orientation: as for `decode_image`.

    Attributes:
        is_plain_jpeg: its shape is known from its first bytes.

    Raises:
        UserError: here, for its shape, or at slicing: it is unreadable, with its name.
    """

    def __init__(
        self,
        row: dict[str, Any],
        name: str,
        decoder: Literal["simplejpeg", "nvimgcodec"] = "simplejpeg",
        num_channels: int = 3,
        exif_orientation: ExifOrientation = "apply",
    ):
        self._name = name
        self._num_channels = num_channels
        self._exif_orientation: ExifOrientation = exif_orientation
        self._by_region = decoder == "nvimgcodec"
        self._pixels: np.ndarray | None = None
        try:
            self._data = encoded_bytes(row)
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        self._size = _size_of_plain_jpeg(self._data, exif_orientation)
        self.is_plain_jpeg = self._size is not None

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(num_channels, height, width)`, of the picture as it is sliced."""
        if self._size is None:
            self._pixels = self._decoded()
            self._size = self._pixels.shape[:2]
        return self._num_channels, *self._size

    def __getitem__(self, region: tuple[slice, slice, slice]) -> Tensor:
        _, rows, columns = region
        pixels, self._pixels = self._pixels, None
        if self._by_region and self.is_plain_jpeg:
            _, height, width = self.shape
            part = _decode_region(self._data, *rows.indices(height)[:2], *columns.indices(width)[:2])
            if part is not None:
                return torch.from_numpy(_converted(part, IMAGE_MODES[self._num_channels])).permute(2, 0, 1)
        if pixels is None:
            pixels = self._decoded()
        return torch.from_numpy(pixels[rows, columns]).permute(2, 0, 1)

    def _decoded(self) -> np.ndarray:
        try:
            return _decode(self._data, self.is_plain_jpeg, IMAGE_MODES[self._num_channels], self._exif_orientation)[0]
        except UNREADABLE as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(f"unreadable image: {self._name}: {error}")


def _size_of_plain_jpeg(data: bytes, exif_orientation: ExifOrientation) -> tuple[int, int] | None:
    """
    Height and width. None for what PIL has to do: other formats, odd kinds, CMYK (simplejpeg rounds that differently),
    and what has to be turned.
    """
    if data[:3] != _JPEG:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if height * width > Image.MAX_IMAGE_PIXELS or colours in _FOUR_COLOURS or _is_a_strip(height, width):
        return None
    if exif_orientation == "apply" and _is_turned(data):
        return None
    return height, width


def _decode(
    data: bytes, is_plain_jpeg: bool, mode: str, exif_orientation: ExifOrientation
) -> tuple[np.ndarray, str | None]:
    """Pixels, `(height, width, channels)`, and libjpeg's warning."""
    if is_plain_jpeg:
        return _decode_plain_jpeg(data, mode)
    return _decode_by_pil(data, mode, exif_orientation), _jpeg_warning(data)


def _decode_plain_jpeg(data: bytes, mode: str) -> tuple[np.ndarray, str | None]:
    try:
        return _converted(simplejpeg.decode_jpeg(data), mode), None
    except ValueError as error:
        if _DAMAGE.search(str(error)):
            raise
        return _decode_by_pil(data, mode, "ignore"), str(error)  # what is to be turned does not come here


def _jpeg_warning(data: bytes) -> str | None:
    """libjpeg's, on what PIL has decoded in silence. Raises: ValueError, for one that means damage."""
    if data[:3] != _JPEG:
        return None
    try:
        if simplejpeg.decode_jpeg_header(data)[2] in _FOUR_COLOURS:
            return None  # simplejpeg does not decode them as they are
        simplejpeg.decode_jpeg(data, "GRAY")
    except ValueError as error:
        if _DAMAGE.search(str(error)):
            raise
        return str(error)
    return None


def _converted(pixels: np.ndarray, mode: str) -> np.ndarray:
    """RGB pixels as those of another mode, `(height, width, channels)`."""
    return pixels if mode == "RGB" else _pixels_of(Image.fromarray(pixels).convert(mode))


def _pixels_of(image: Image.Image) -> np.ndarray:
    pixels = np.array(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _decode_region(data: bytes, top: int, bottom: int, left: int, right: int) -> np.ndarray | None:
    """None for what nvImageCodec cannot do; the others can, or say why not."""
    nvimgcodec, decoder = _nvimgcodec(os.getpid())
    try:
        part = nvimgcodec.CodeStream(data).get_sub_code_stream(region=nvimgcodec.Region(top, left, bottom, right))
    except RuntimeError:
        return None
    image = decoder.decode(part, params=nvimgcodec.DecodeParams(apply_exif_orientation=False))
    return None if image is None else np.asarray(image)


def nvimgcodec_is_installed() -> bool:
    """It is an extra: 25 MB, for Linux and Windows."""
    return find_spec("nvidia") is not None and find_spec("nvidia.nvimgcodec") is not None


@lru_cache(maxsize=1)
def _nvimgcodec(process: int) -> tuple[Any, Any]:
    """The module, and a decoder of this process: its threads do not survive a fork."""
    from nvidia import nvimgcodec

    return nvimgcodec, nvimgcodec.Decoder(
        device_id=nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY,
        max_num_cpu_threads=1,
        backends=[nvimgcodec.Backend(nvimgcodec.BackendKind.CPU_ONLY)],
        options=":fancy_upsampling=1",  # as libjpeg-turbo, and all that stand on it, do by default
    )


def _is_turned(data: bytes) -> bool:
    header = data[: data.find(b"\xff\xda")]  # up to the start of the first scan
    if _ORIENTED.search(header) is None:
        return False
    with _quiet():
        return _orientation(_open(data)) != 1


def _open(data: bytes) -> Image.Image:
    """By PIL, whose own message names an object in memory."""
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        what = f"not an image of a kind that is read here ({', '.join(_FORMATS)})" if data else "the file is empty"
        raise UnidentifiedImageError(what) from error
    if _is_a_thumbnail(image):
        raise UnidentifiedImageError("a camera's raw file, which begins with a thumbnail: develop it to TIFF or JPEG")
    if _is_a_strip(*image.size):
        raise ValueError(f"{image.width} × {image.height} pixels: more than {_MOST_SLENDER:,} times as long as wide")
    return image


def _is_a_strip(*sides: int) -> bool:
    return max(sides) > _MOST_SLENDER * min(sides)


def _is_a_thumbnail(image: Image.Image) -> bool:
    """Whether it is no picture by itself: PIL opens the first one of DNG, NEF and other raw files, which are TIFF."""
    if not isinstance(image, TiffImageFile):
        return False
    tags = image.tag_v2
    is_one_of_several = _TIFF_SUBFILES in tags or tags.next != 0
    return _TIFF_DNG in tags or (tags.get(_TIFF_SUBFILE, 0) & 1 == 1 and is_one_of_several)


def orientation_of(data: bytes) -> int:
    """
    How decoded pixels have to be turned, 1 to 8 by EXIF's count; 1, not at all, where it says nothing or nonsense.

    Raises:
        UNREADABLE: not an image.
    """
    with _quiet():
        image = _open(data)
        orientation = _orientation(image)
    # Pillow turns TIFF by itself as it decodes.
    return orientation if orientation in _UPRIGHT and image.format != "TIFF" else 1


def with_orientation(orientation: int) -> Image.Exif:
    """EXIF data that say so."""
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = orientation
    return exif


def _decode_by_pil(data: bytes, mode: str, exif_orientation: ExifOrientation) -> np.ndarray:
    with _quiet():
        image = _open(data)
        image.load()
        orientation = _orientation(image) if exif_orientation == "apply" else 1
    white = _white(image)
    if white is not None:
        # PIL turns a negative round in 8 bits alone, and takes a file that does not say for one.
        negative = isinstance(image, TiffImageFile) and image.tag_v2.get(_TIFF_PHOTOMETRIC, 0) == 0
        levels = white - np.asarray(image) if negative else np.asarray(image)
        image = Image.fromarray((levels * (255 / white)).round().astype(np.uint8))
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    with _quiet():
        return _pixels_of(image.convert(mode))


def _white(image: Image.Image) -> int | None:
    """The highest value that a grey pixel can have, if it has more than 8 bits."""
    if image.mode.startswith("I;16"):
        # PIL spreads the values of all formats but TIFF over 16 bits.
        return 2 ** image.tag_v2[_TIFF_BITS][0] - 1 if isinstance(image, TiffImageFile) else 0xFFFF
    if image.mode == "I" and image.format == "PPM":
        return 0xFFFF  # whatever its own highest value is
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits or a sign, without an agreed range: convert it to 8 bits")
    return None


def _orientation(image: Image.Image) -> int:
    """As EXIF or XMP have it; 1 (upright) where that is missing or damaged."""
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except UNREADABLE:
        return 1


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PIL's remarks on metadata and palettes, once per image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
