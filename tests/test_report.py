"""The HTML report: the right images in the right place, one file, and names that are only text."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from modeling_resnet50.evaluation.predictions import Predictions
from modeling_resnet50.evaluation.report import write_report
from resnet50_recipe.errors import UserError


# Probabilities of (ant, bee, cat), and the true class: rows 1 and 4 are wrong, 4 more confidently so.
PROBABILITIES = [[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.96, 0.0395, 0.0005]]
LABELS = [0, 1, 1, 2, 2]
NAMES = ["ant", "bee", "cat"]


def predictions(probabilities=PROBABILITIES, labels=LABELS, names=NAMES) -> Predictions:
    return Predictions(np.log(np.array(probabilities, dtype=np.float32)), np.array(labels), names)


def picture(row: int) -> Image.Image:
    """A grey of its own for each row, which JPEG gives back."""
    return Image.new("RGB", (40, 40), (20 + 10 * row,) * 3)


class Page(HTMLParser):
    """What a browser makes of the file: its text, sections, pictures, tags and attributes."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.section, self.sections, self.pictures = "", {}, {}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.handle_data(" ")
        if tag == "h2":
            self.section = ""
        if tag == "img":
            self.pictures.setdefault(self.section, []).append(dict(attributes)["src"])

    def handle_data(self, data):
        if self.tags and self.tags[-1] in ("style", "script"):
            return
        if self.tags and self.tags[-1] == "h2" and data.strip() and not self.section:
            self.section = data.strip()
        self.text += data
        self.sections[self.section] = self.sections.get(self.section, "") + data

    def rows(self, section: str) -> list[int]:
        """Which pictures a section shows."""
        return [round((decoded(data).getpixel((8, 8))[0] - 20) / 10) for data in self.pictures.get(section, [])]

    def words(self, section: str) -> str:
        return " ".join(self.sections[section].split())


def decoded(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data.removeprefix("data:image/jpeg;base64,")))).convert("RGB")


def report(tmp_path, named=None, results=None, cam=None) -> Page:
    path = tmp_path / "report.html"
    write_report(path, named or {"model": predictions()}, picture, results or {}, cam)
    return Page(path)


def test_mistakes_are_shown_the_worst_first(tmp_path):
    page = report(tmp_path)
    assert page.rows("Most confidently wrong") == [4, 1]
    assert page.words("Most confidently wrong").endswith("cat ant 96% bee ant 60%")
    # By the probability of the truth: 0.0005, 0.3, 0.6, 0.8, 0.9
    assert page.rows("Hardest images") == [4, 1, 3, 2, 0]
    assert "cat <0.1% ant 96% bee 30% ant 60% cat 60% bee 80% ant 90%" in page.words("Hardest images")


def test_classes_come_worst_first_with_what_was_right(tmp_path):
    assert report(tmp_path).words("Classes") == "Classes bee 1 of 2 cat 1 of 2 ant 1 of 1"


def test_confused_pairs_show_their_own_pictures(tmp_path):
    labels = [0, 0, 0, 1, 1, 2]
    probabilities = [[0.1, 0.9, 0], [0.2, 0.8, 0], [0.9, 0.1, 0], [0, 0.1, 0.9], [0, 0.9, 0.1], [0, 0, 1]]
    page = report(tmp_path, {"model": predictions(np.array(probabilities) + 1e-6, labels)})
    assert page.rows("Confused most often") == [0, 1, 3]  # ant for bee, twice; bee for cat
    assert "90% 80% ant taken for bee 2 of 3 images 90% bee taken for cat 1 of 2 images" in page.words(
        "Confused most often"
    )


def test_heat_maps_are_asked_for_the_answer_and_the_truth(tmp_path):
    asked = []

    def cam(row, label):
        asked.append((row, label))
        heat = np.zeros((8, 8))
        heat[:, 4:] = 1
        return heat

    page = report(tmp_path, cam=cam)
    assert sorted(asked) == [(0, 0), (1, 0), (1, 1), (2, 1), (3, 2), (4, 0), (4, 2)]
    shown = [decoded(data) for data in page.pictures["Where it looks"]]
    cold, hot = ([np.ptp(image.getpixel((x, 80))) > 50 for image in shown] for x in (10, 150))  # is it coloured?
    assert not any(cold)
    assert (hot.count(False), hot.count(True)) == (5, 7)  # each picture as it is, and with its maps


def test_headline_has_every_number_with_its_interval_side_by_side(tmp_path):
    results = {
        "dataset": {"name": "insects", "split": "validation"},
        "models": {
            "one": {
                "top1": {"value": 0.75, "low": 0.7, "high": 0.8},
                "loss": {"value": 1.5, "low": None, "high": None},
                "ece": 0.031,
                "metrics": {"f1": {"f1": 0.5}},
                "suites": {"imagenet-v2": {"top-images": {"top1": 0.6, "images": 10}}, "imagenet-c": {"mce": 0.767}},
                "protocol": {"resize_size": 256, "image_size": 224, "interpolation": "bilinear", "flip": True},
            },
            "other": {"top1": 0.5},
        },
        "comparisons": [
            {"first": "one", "second": "other", "top1_difference": {"value": -0.25, "low": -0.4, "high": -0.1},
             "only_first": 30, "only_second": 5, "p_value": 0.00012},
        ],
        "suites_absent": {"imagenet-r": "ImageNet-R: 30,000 images, from its authors"},
        "versions": {"torch": "2.11"},
    }  # fmt: skip
    page = report(tmp_path, {"one": predictions(), "other": predictions()}, results)
    text = " ".join(page.text.split())
    assert "one other images 5 5 top-1 75% 70% to 80% 50.00% loss 1.5000 ECE 3.10% f1 0.5" in text
    assert "short side 256 → 224 pixels, bilinear, with mirror images" in text
    assert "other against one: top-1 -25.00% (-40.00% to -10.00%); 5 images that only it gets right, 30" in text
    assert "p = 0.00012" in text
    assert "imagenet-v2, top-images top-1 60.00%, images 10" in text
    assert "imagenet-c mCE 76.70%" in text
    assert "ImageNet-R: 30,000 images, from its authors" in text
    assert len([data for data in page.pictures["Can its confidence be trusted?"] if "svg" in data]) == 2


def test_names_are_only_text_and_nothing_comes_from_outside(tmp_path):
    evil = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }} & $x$ 'cat"]
    page = report(
        tmp_path,
        {evil[0]: predictions(names=evil)},
        {"dataset": {"name": evil[1]}, "models": {evil[0]: {"metrics": {evil[0]: 1.0}}}, "versions": {evil[0]: "1"}},
        lambda row, label: np.ones((4, 4)),
    )
    data, script = re.findall(r"<script[^>]*>(.*?)</script>", (tmp_path / "report.html").read_text(), re.DOTALL)
    assert json.loads(data)["names"] == evil
    assert script.strip() in files("modeling_resnet50.evaluation").joinpath("report.html").read_text()
    assert page.tags.count("script") == 2
    assert not {"link", "iframe", "object", "base", "form"} & set(page.tags)
    for name in evil:
        assert name in page.text
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "srcset"):
            assert value.startswith("data:image/")
    style = (tmp_path / "report.html").read_text().split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_a_thousand_classes_stay_below_3_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)) for _ in range(4)]
    labels = np.repeat(np.arange(1000), 2)
    names = [f"class {label}, which has a rather long name" for label in range(1000)]
    logits = rng.normal(size=(2000, 1000)).astype(np.float32)
    logits[np.arange(0, 2000, 3), labels[::3]] = 9
    path, heat = tmp_path / "report.html", np.linspace(0, 1, 49).reshape(7, 7)
    named = {"model": Predictions(logits, labels, names)}
    write_report(path, named, lambda row: noise[row % 4], {}, lambda row, label: heat)
    assert path.stat().st_size < 3_000_000  # although noise is what JPEG finds hardest
    page = Page(path)
    assert page.tags.count("rect") == 1000
    assert "best class, of 1,000" in page.text
    assert page.words("Classes").count(" of 2") == 1000 + 2 * 20  # a title for each bar; and the worst and best, named


def test_a_model_without_mistakes_has_a_report_too(tmp_path):
    perfect = predictions(np.eye(3) + 1e-9, [0, 1, 2])
    page = report(tmp_path, {"model": perfect}, cam=lambda row, label: np.zeros((2, 2)))
    assert "Nothing is confused." in page.text
    assert "Nothing is wrong." in page.text
    assert page.rows("Most confidently wrong") == []


def test_the_same_predictions_give_the_same_file(tmp_path):
    report(tmp_path)
    first = (tmp_path / "report.html").read_text()
    report(tmp_path)
    assert (tmp_path / "report.html").read_text() == first


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({}, "needs the predictions of a model"),
        ({"model": predictions(np.ones((0, 3)), np.zeros(0, int))}, "at least one image"),
        ({"one": predictions(), "other": predictions(labels=[0, 1, 1, 2, 1])}, "other was judged by other images"),
    ],
)
def test_predictions_that_make_no_report_are_named(tmp_path, named, message):
    with pytest.raises(UserError, match=message):
        write_report(tmp_path / "report.html", named, picture, {})
