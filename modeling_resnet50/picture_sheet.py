"""Pictures with captions on one sheet, and the words for what is in a training image."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from resnet50_recipe.terminal import printable


_SMALLEST = 112  # pixels: smaller images are enlarged, by whole numbers, so that each pixel is seen
_GAP, _LINE, _MOST_LINES = 4, 14, 3
_COLOURS = {True: "#1b7837", False: "#c00000", None: "black"}
_LEAST_SHARE = 0.005  # of a class in a mixed image, to be named


@dataclass(frozen=True)
class Picture:
    """
    Attributes:
        images: of equal size, shown side by side.
        caption: below; what ` + ` joins stands in lines of its own.
        right: whether the model's answer is; None if there is none, or nobody knows.
    """

    images: list[Image.Image]
    caption: str
    right: bool | None = None


def draw_sheet(pictures: Sequence[Picture], columns: int) -> Image.Image:
    """All pictures, of equal size, in rows of `columns`, with their captions: green where right, red where wrong."""
    font = ImageFont.truetype(_fonts_of_matplotlib() / "DejaVuSans.ttf", 11)
    width, height = pictures[0].images[0].size
    scale = max(1, -(-_SMALLEST // width))
    width, height = width * scale, height * scale
    wide = width * max(len(picture.images) for picture in pictures)
    captions = [_lines_of(picture.caption, font, wide) for picture in pictures]
    right, down = wide + _GAP, height + _GAP + _LINE * max(map(len, captions))
    columns = min(columns, len(pictures))
    sheet = Image.new("RGB", (columns * right + _GAP, -(-len(pictures) // columns) * down + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (picture, lines) in enumerate(zip(pictures, captions)):
        row, column = divmod(index, columns)
        left, top = _GAP + column * right, _GAP + row * down
        for place, image in enumerate(picture.images):
            enlarged = image.resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (left + place * width, top))
        draw.multiline_text((left, top + height), "\n".join(lines), _COLOURS[picture.right], font, spacing=1)
    return sheet


def _fonts_of_matplotlib() -> Path:
    """Found without importing it, which would hold up the first training step."""
    origin = getattr(find_spec("matplotlib"), "origin", None)
    assert origin is not None, "it is installed with this package"
    return Path(origin).with_name("mpl-data") / "fonts" / "ttf"


def classes_in(target: Tensor, label_names: list[str], smoothing: float) -> str:
    """
    `tench`, or of a mixed image `tench 70% + goldfish 30%`.

    Args:
        target: the class, int64 `()`; or shares of all classes, `(num_labels,)`.
        label_names: of the classes, in their order.
        smoothing: `label_smoothing_factor`, which shares have in them, and captions do not.
    """
    if target.ndim == 0:
        return short_name(label_names[target])
    shares = (target.double() - smoothing / len(target)) / (1 - smoothing)
    classes = [int(label) for label in shares.argsort(descending=True) if shares[label] > _LEAST_SHARE]
    if len(classes) == 1:
        return short_name(label_names[classes[0]])
    return " + ".join(f"{short_name(label_names[label])} {shares[label]:.0%}" for label in classes)


def short_name(label_name: str) -> str:
    """The first of several words for the same class."""
    return label_name.split(",")[0]


def _lines_of(caption: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """A caption in lines that are no wider than so many pixels; what is longer is cut."""
    lines: list[str] = []
    for part in printable(caption).split(" + "):
        line = ""
        for word in part.split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return [_cut(line, font, width) for line in lines[:_MOST_LINES]]


def _cut(line: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    while len(line) > 1 and font.getlength(line) > width:
        line = line[:-2] + "…"
    return line
