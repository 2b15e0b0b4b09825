"""What lies in real folders of images is converted as documented or refused by name, and never silently wrong."""

import io
import random
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image, PngImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from modeling_resnet50.data.decoding import UNREADABLE, EncodedImage, decode_image
from modeling_resnet50.data.image_files import find_images
from modeling_resnet50.data.loader import ImageBatches
from modeling_resnet50.data.transforms import ImageTransform
from resnet50_recipe.errors import UserError


def picture() -> np.ndarray:
    """Coloured, without any symmetry, with a little noise: uint8 (40, 56, 3)."""
    y, x = np.mgrid[0:40, 0:56]
    smooth = np.stack([4 * x, 250 - 6 * y, 100 + x + y], -1)
    return (smooth + np.random.default_rng(0).integers(0, 3, smooth.shape)).astype(np.uint8)


PICTURE = picture()
GREY = PICTURE[..., :1].repeat(3, -1)


def saved(image: Image.Image | np.ndarray, image_format: str, **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


JPEG = saved(PICTURE, "JPEG", quality=95, subsampling=0)
PNG = saved(PICTURE, "PNG")


def damaged_jpeg() -> bytes:
    """Zeros in the middle of the compressed pixels, where some codes then stand for nothing."""
    start = JPEG.find(b"\xff\xda") + 14
    return JPEG[: start + 300] + bytes(120) + JPEG[start + 420 :]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with_header(width: int, height: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return PNG[:8] + header + PNG[33:]


def jpeg_with_size(width: int, height: int) -> bytes:
    start = JPEG.find(b"\xff\xc0")
    return JPEG[: start + 5] + struct.pack(">HH", height, width) + JPEG[start + 9 :]


def png_with_a_bomb_of_text() -> bytes:
    text = b"Comment\0\0" + zlib.compress(bytes(PngImagePlugin.MAX_TEXT_CHUNK * 2))
    return PNG[:33] + png_chunk(b"zTXt", text) + PNG[33:]


def jpeg_with_exif(content: bytes, data: bytes = JPEG) -> bytes:
    segment = content if content.startswith(b"Exif") else b"Exif\0\0" + content
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


def zip_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", JPEG)
    return buffer.getvalue()


def tiff(bits: int, pixels: bytes, signed: bool = False) -> bytes:
    """Grey, as large as the picture, with so many bits a pixel."""
    height, width = PICTURE.shape[:2]
    kinds = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 134, 277: 1, 278: height, 279: len(pixels)}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in {**kinds, 339: 2 if signed else 1}.items()]
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4) + pixels


def pgm(white: int, values: np.ndarray, plain: bool = False) -> bytes:
    """Grey of up to 16 bits, with this highest value: as numbers in words, or as bytes."""
    header = f"P{2 if plain else 5}\n{values.shape[1]} {values.shape[0]}\n{white}\n".encode()
    words = " ".join(map(str, values.ravel().tolist())).encode()
    return header + (words if plain else values.astype(">u2" if white > 255 else "u1").tobytes())


def twelve_bits(values: np.ndarray) -> bytes:
    """Two values in three bytes."""
    first, second = values.ravel()[::2].astype(int), values.ravel()[1::2].astype(int)
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8).tobytes()


def raw_photo(**tags: tuple[int, int, bytes | int]) -> bytes:
    """As cameras' raw files begin, with a thumbnail, by tag, type and value; behind it is another picture."""
    directory = ImageFileDirectory_v2()
    for tag, kind, value in tags.values():
        directory.tagtype[tag] = kind
        directory[tag] = value
    small, large = Image.fromarray(PICTURE[:9, :9].copy()), Image.fromarray(PICTURE)
    return saved(small, "TIFF", tiffinfo=directory, save_all=True, append_images=[large])


RAW_PHOTOS = {
    "DNG": raw_photo(version=(50706, 1, b"\1\4\0\0"), kind=(254, 4, 1)),
    "DNG that lies on its side": raw_photo(version=(50706, 1, b"\1\4\0\0"), orientation=(274, 3, 6)),
    "NEF, whose first picture is a copy of a later one": raw_photo(kind=(254, 4, 1)),
}

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(/tmp/x) deletefile\nshowpage\n%%EOF\n"

REFUSED = {
    "empty": (b"", "the file is empty"),
    "a single byte": (b"\xff", "not an image of a kind"),
    "an HTML error page": (
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "not an image of a kind that is read here",
    ),
    "a pointer of git-lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "not an image of a kind that is read here",
    ),
    "SVG": (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "not an image of a kind that is read here",
    ),
    "PDF": (saved(PICTURE, "PDF"), "not an image of a kind"),
    "EPS, which is a program": (EPS, "not an image of a kind"),
    "a zip": (zip_file(), "not an image of a kind"),
    "noise behind the signature of a JPEG": (JPEG[:3] + random.Random(0).randbytes(500), None),
    "nothing behind the signature of a PNG": (PNG[:8], None),
    "JPEG cut off in its header": (JPEG[:200], None),
    "JPEG cut off in the middle": (JPEG[: len(JPEG) // 2], "[Pp]remature end"),
    "JPEG without its last bytes": (JPEG[:-30], "[Pp]remature end"),
    "JPEG with damaged pixels": (damaged_jpeg(), "Huffman|[Pp]remature end"),
    "JPEG with damaged pixels, lying on its side": (
        jpeg_with_exif(orientation(6), damaged_jpeg()),
        "Huffman|[Pp]remature end",
    ),
    "JPEG that claims to be huge": (jpeg_with_size(65000, 65000), "decompression bomb"),
    "PNG that claims to be huge": (png_with_header(100_000, 100_000), "decompression bomb"),
    "PNG of one row that is too long to be resized": (
        saved(Image.new("RGB", (1001, 1)), "PNG"),
        "times as long as wide",
    ),
    "JPEG of a column too long": (saved(Image.new("RGB", (2, 2001)), "JPEG"), "times as long as wide"),
    "PNG without width": (png_with_header(0, 40), None),
    "PNG with a bomb in its text": (png_with_a_bomb_of_text(), "[Dd]ecompressed data too large"),
    "PNG cut off": (PNG[: len(PNG) // 2], "truncated|broken"),
    "PNG with a flipped bit": (PNG[:400] + bytes([PNG[400] ^ 4]) + PNG[401:], None),
    "GIF cut off": (saved(PICTURE, "GIF")[:900], None),
    "WebP cut off": (saved(PICTURE, "WEBP")[:100], None),
    "BMP cut off": (saved(PICTURE, "BMP")[:2000], "truncated"),
    "TIFF cut off": (saved(PICTURE, "TIFF")[:3000], None),
    "TIFF of 32-bit integers": (saved(PICTURE[..., 0].astype(np.int32) * 70000, "TIFF"), "32 bits"),
    "TIFF of 16-bit integers with a sign": (tiff(16, PICTURE[..., 0].astype("<i2").tobytes(), signed=True), "sign"),
    "TIFF of floats": (saved(PICTURE[..., 0].astype(np.float32) / 255, "TIFF"), "32 bits"),
    **{kind: (data, "a camera's raw file, which begins with a thumbnail") for kind, data in RAW_PHOTOS.items()},
}

RGBA = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 90, np.uint8)])
PALETTE = Image.fromarray(PICTURE).quantize(200)
FRAMES = [Image.fromarray(PICTURE[::-1].copy()), Image.fromarray(PICTURE[:, ::-1].copy())]
DEEP_GREY = PICTURE[..., 0].astype(np.uint16) * 256 + 17
# Grey of 12 bits, and what it is in 8, by the definition: round(255 x / 4095).
TWELVE = PICTURE[..., 0].astype(np.uint16) * 16 + 5
OF_TWELVE = np.round(TWELVE * (255 / 4095))[..., None].astype(np.uint8).repeat(3, -1)

CONVERTED = {
    "JPEG": (JPEG, PICTURE, 8),
    "progressive JPEG": (saved(PICTURE, "JPEG", quality=95, subsampling=0, progressive=True), PICTURE, 8),
    "grey JPEG": (saved(PICTURE[..., 0], "JPEG", quality=95), GREY, 8),
    "CMYK JPEG": (saved(Image.fromarray(PICTURE).convert("CMYK"), "JPEG", quality=98, subsampling=0), PICTURE, 8),
    "JPEG with bytes after its end": (JPEG + b"garbage" * 50, PICTURE, 8),
    "JPEG with bytes too many before its end": (JPEG[:-2] + bytes(30) + JPEG[-2:], PICTURE, 8),
    "JPEG with damaged EXIF": (jpeg_with_exif(b"II*\0\x08\0\0\0\xff\xff" + bytes(20)), PICTURE, 8),
    "JPEG with EXIF that is none": (jpeg_with_exif(b"nothing"), PICTURE, 8),
    "JPEG with an unknown orientation": (saved(PICTURE, "JPEG", quality=95, subsampling=0, exif=orientation(77)),
                                         PICTURE, 8),
    "JPEG lying on its side": (saved(PICTURE, "JPEG", quality=95, subsampling=0, exif=orientation(6)),
                               np.rot90(PICTURE, -1), 8),
    "PNG lying on its side": (saved(PICTURE, "PNG", exif=orientation(8)), np.rot90(PICTURE), 0),
    "JPEG of two pictures (MPO)": (saved(PICTURE, "MPO", quality=95, subsampling=0, save_all=True,
                                         append_images=FRAMES), PICTURE, 8),
    "PNG": (PNG, PICTURE, 0),
    "PNG of 16 bits, grey": (saved(DEEP_GREY, "PNG"), GREY, 1),
    "TIFF of 16 bits, grey": (saved(DEEP_GREY, "TIFF"), GREY, 1),
    "TIFF of 16 bits whose white is zero": (saved(65535 - DEEP_GREY, "TIFF", tiffinfo={262: 0}), GREY, 1),
    "TIFF of 8 bits whose white is zero": (saved(PICTURE[..., 0], "TIFF", tiffinfo={262: 0}), GREY, 0),
    "JPEG 2000 of 16 bits, grey": (saved(DEEP_GREY, "JPEG2000"), GREY, 1),
    "PGM of 16 bits": (pgm(65535, DEEP_GREY), GREY, 1),
    "PGM of 12 bits": (pgm(4095, TWELVE), OF_TWELVE, 0),
    "PGM of 12 bits, in words": (pgm(4095, TWELVE, plain=True), OF_TWELVE, 0),
    "PGM whose white is 300": (pgm(300, PICTURE[..., 0]), np.round(GREY * (255 / 300)), 0),
    "PGM whose white is 250": (pgm(250, np.minimum(PICTURE[..., 0], 250)), np.round(np.minimum(GREY, 250) * 1.02), 0),
    "TIFF of 12 bits": (tiff(12, twelve_bits(TWELVE)), OF_TWELVE, 0),
    "DIB": (saved(PICTURE, "DIB"), PICTURE, 0),
    "palette": (saved(PALETTE, "PNG"), np.array(PALETTE.convert("RGB")), 0),
    "palette with a transparent colour": (saved(PALETTE, "PNG", transparency=3), np.array(PALETTE.convert("RGB")), 0),
    "transparency": (saved(RGBA, "PNG"), PICTURE, 0),
    "grey with transparency": (saved(Image.fromarray(RGBA[..., [0, 3]].copy(), "LA"), "PNG"), GREY, 0),
    "one bit": (saved(Image.fromarray(PICTURE[..., 0] > 127), "PNG"),
                255 * (GREY > 127).astype(np.uint8), 0),
    "animated GIF": (saved(PALETTE, "GIF", save_all=True, append_images=FRAMES), np.array(PALETTE.convert("RGB")), 0),
    "animated WebP": (saved(PICTURE, "WEBP", lossless=True, save_all=True, append_images=FRAMES), PICTURE, 0),
    "animated PNG": (saved(PICTURE, "PNG", save_all=True, append_images=FRAMES), PICTURE, 0),
    "WebP": (saved(PICTURE, "WEBP", lossless=True), PICTURE, 0),
    "AVIF": (saved(PICTURE, "AVIF", quality=100, subsampling="4:4:4"), PICTURE, 8),
    "BMP": (saved(PICTURE, "BMP"), PICTURE, 0),
    "TIFF of several pages": (saved(PICTURE, "TIFF", save_all=True, append_images=[PALETTE]), PICTURE, 0),
    "TIFF that calls itself a smaller copy, of nothing": (saved(PICTURE, "TIFF", tiffinfo={254: 1}), PICTURE, 0),
    "TIFF, CMYK": (saved(Image.fromarray(PICTURE).convert("CMYK"), "TIFF"), PICTURE, 1),
    "JPEG 2000": (saved(PICTURE, "JPEG2000"), PICTURE, 1),
    "PPM": (saved(PICTURE, "PPM"), PICTURE, 0),
    "a profile of colours that is none": (saved(PICTURE, "PNG", icc_profile=b"none"), PICTURE, 0),
    "a row": (saved(PICTURE[:1].repeat(2, 1)[:, :100], "PNG"), PICTURE[:1].repeat(2, 1)[:, :100], 0),
    "one pixel": (saved(PICTURE[:1, :1], "PNG"), PICTURE[:1, :1], 0),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_by_name(kind, tmp_path):
    data, reason = REFUSED[kind]
    with pytest.raises(UNREADABLE, match=reason):
        decode_image(data)
    path = tmp_path / "n01440764_1.JPEG"
    path.write_bytes(data)
    rows = Dataset.from_dict({"image": [{"bytes": None, "path": str(path)}], "label": [0]})
    error = ImageBatches(rows, ImageTransform()).__getitems__([(0, 0)])
    assert isinstance(error, UserError)
    assert str(error).startswith(f"unreadable image: {path} (row 0): ")


def test_raw_photos_in_a_folder_are_left_out_as_what_they_are(tmp_path):
    for number, data in enumerate(RAW_PHOTOS.values()):
        (tmp_path / f"{number}.dng").write_bytes(data)
    (tmp_path / "photo").write_bytes(JPEG)
    found = find_images(tmp_path)
    assert found.paths == [str(tmp_path / "photo")]
    assert found.left_out == {".dng": len(RAW_PHOTOS)}


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", b"\x00" * 100], ids=["empty", "a page", "zeros"])
def test_what_is_no_image_is_said_in_words(data):
    for read in (decode_image, lambda data: EncodedImage({"bytes": data, "path": None}, "x.jpg").shape):
        with pytest.raises((UserError, OSError)) as error:
            read(data)
        assert "object at" not in str(error.value)
        assert ("the file is empty" if not data else "not an image of a kind that is read here") in str(error.value)


@pytest.mark.parametrize("kind", CONVERTED)
def test_it_is_converted(kind):
    data, expected, tolerance = CONVERTED[kind]
    pixels = decode_image(data)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, *expected.shape[:2])
    difference = pixels.permute(1, 2, 0).numpy().astype(int) - expected
    assert abs(difference).max() <= tolerance


@pytest.mark.parametrize("kind", ["JPEG", "CMYK JPEG", "PNG", "palette", "animated GIF", "WebP", "BMP", "TIFF, CMYK",
                                  "PPM", "JPEG with damaged EXIF", "JPEG 2000", "JPEG lying on its side"])  # fmt: skip
def test_whatever_the_damage_it_ends_as_a_picture_or_an_error_that_is_documented(kind):
    data = CONVERTED[kind][0]
    generator = random.Random(kind)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(generator.choice([1, 3, 20])):
            damaged[generator.randrange(min(len(damaged), 2000))] = generator.randrange(256)
        if generator.random() < 0.3:
            del damaged[generator.randrange(len(damaged)) :]
        try:
            outcomes.add(decode_image(bytes(damaged)).dtype)
        except UNREADABLE:
            outcomes.add("refused")
    assert outcomes <= {torch.uint8, "refused"}
    assert "refused" in outcomes
