"""Pictures with captions: the words for a training image, and where all of it stands on the sheet."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from modeling_resnet50 import picture_sheet
from modeling_resnet50.picture_sheet import Picture, classes_in, draw_sheet


NAMES = ["ant, emmet", "bee", "cat, true cat"]
GREEN, RED = (0x1B, 0x78, 0x37), (0xC0, 0, 0)


@pytest.mark.parametrize(
    ("target", "caption"),
    [
        (torch.tensor(1), "bee"),
        (torch.tensor([0.3, 0.7, 0.0]), "bee 70% + ant 30%"),
        (torch.tensor([0.25, 0.05, 0.7]), "cat 70% + ant 25% + bee 5%"),
        (0.9 * torch.tensor([0.75, 0.0, 0.25]) + 0.1 / 3, "ant 75% + cat 25%"),
        (0.9 * torch.tensor([0.0, 0.0, 1.0]) + 0.1 / 3, "cat"),
    ],
)
def test_captions_have_the_shares_without_the_smoothing(target, caption):
    smoothing = 0.1 if target.ndim and target.min() == pytest.approx(0.1 / 3) else 0.0
    assert classes_in(target, NAMES, smoothing) == caption


def test_the_font_is_found_where_matplotlib_has_it():
    assert picture_sheet._fonts_of_matplotlib() == Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def below(sheet: Image.Image, picture: int, width: int = 112) -> np.ndarray:
    """The pixels of a caption, of a sheet with one row."""
    left = 4 + picture * (width + 4)
    return np.asarray(sheet)[4 + 112 :, left : left + width].reshape(-1, 3)


def test_captions_stand_below_in_lines_and_colours_and_what_is_too_long_is_cut():
    image = Image.new("RGB", (16, 16), (10, 20, 30))
    captions = ["bee 70% + ant 30%", "крапива", "x" * 200, "a\x1b[31mb"]
    sheet = draw_sheet([Picture([image], text, right) for text, right in zip(captions, (True, False, None, None))], 8)
    assert sheet.size == (4 + 4 * 116, 4 + 112 + 2 * 14 + 4)
    for place, colour in ((0, GREEN), (1, RED), (2, (0, 0, 0))):
        assert colour in {tuple(pixel) for pixel in below(sheet, place).tolist()}, captions[place]
    written = np.asarray(sheet)[4 + 112 :].min(axis=-1) < 128
    rows = [written[:14, 4:116].any(), written[14:, 4:116].any(), written[14:, 120:].any()]
    assert rows == [True, True, False]  # two lines of the mixed image, one of the others
    assert not written[:, [3, 119, 235, 351]].any()  # nothing runs into the next


def test_images_of_one_picture_stand_side_by_side_enlarged_by_whole_numbers():
    red, blue = Image.new("RGB", (60, 50), (255, 0, 0)), Image.new("RGB", (60, 50), (0, 0, 255))
    sheet = np.asarray(draw_sheet([Picture([red, blue], "two"), Picture([red], "one")], columns=1))
    assert sheet.shape == (4 + 2 * (100 + 14 + 4), 4 + 240 + 4, 3)
    assert (sheet[4:104, 4:124] == (255, 0, 0)).all()
    assert (sheet[4:104, 124:244] == (0, 0, 255)).all()
    assert (sheet[122:222, 4:124] == (255, 0, 0)).all()
