"""What is said of each class, and on average over the classes: scikit-learn's numbers; and the page's matrix."""

import csv
import json
from base64 import b64decode

import matplotlib
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from browser import open_browser, watched
from PIL import Image
from sklearn import metrics as sk

from modeling_resnet50.evaluation import report
from modeling_resnet50.evaluation.class_files import draw_confusion_matrix, draw_curves, write_class_files
from modeling_resnet50.evaluation.class_report import AVERAGES, CURVE_POINTS, class_report
from modeling_resnet50.evaluation.evaluate import evaluate_model
from modeling_resnet50.evaluation.metric_modules import compute_metric, load_metric
from modeling_resnet50.evaluation.predictions import Predictions
from modeling_resnet50.evaluation.report import write_report
from modeling_resnet50.evaluation.selective import coverage_table


def drawn(images=400, classes=7, absent=(), equal=False, seed=0) -> Predictions:
    """Better than guessing, classes of unequal size; `absent` ones have no images but are answered."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([c for c in range(classes) if c not in absent], size=images)
    labels[rng.random(images) < 0.4] = labels[0]
    logits = rng.normal(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), labels] += 1.5
    if equal:  # the very same answers for images of several classes
        logits = logits[rng.integers(0, 30, images)]
    return Predictions(logits, labels, [f"class {number}" for number in range(classes)])


CASES = [
    {},
    {"absent": (2, 5)},
    {"equal": True},
    {"classes": 2},
    {"images": 3},
    {"images": 60, "classes": 40},
]


def said_of(predictions):
    probabilities = torch.from_numpy(predictions.logits).double().softmax(1).numpy()
    return predictions.labels, predictions.logits.argmax(1), probabilities


@pytest.mark.parametrize("case", CASES, ids=str)
def test_averages_are_scikit_learns(case):
    predictions = drawn(**case)
    labels, predicted, probabilities = said_of(predictions)
    report = class_report(predictions)
    for average in ("macro", "weighted"):
        expected = sk.precision_recall_fscore_support(labels, predicted, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), expected):
            assert report[f"{average}_{name}"] == pytest.approx(value)
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(UserWarning)  # a class that is answered has no image
        assert report["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert report["cohen_kappa"] == pytest.approx(sk.cohen_kappa_score(labels, predicted))
    present, images = np.unique(labels, return_counts=True)
    areas = [sk.roc_auc_score(labels == c, probabilities[:, c]) for c in present]
    precisions = [sk.average_precision_score(labels == c, probabilities[:, c]) for c in present]
    assert report["roc_auc"] == pytest.approx(np.mean(areas))
    assert report["weighted_roc_auc"] == pytest.approx(np.average(areas, weights=images))
    assert report["average_precision"] == pytest.approx(np.mean(precisions))
    assert report["weighted_average_precision"] == pytest.approx(np.average(precisions, weights=images))
    if len(present) == predictions.logits.shape[1] > 2:
        expected = sk.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
        assert report["roc_auc"] == pytest.approx(expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_class_has_scikit_learns_numbers(case):
    predictions = drawn(**case)
    labels, predicted, probabilities = said_of(predictions)
    rows = class_report(predictions)["classes"]
    present = np.unique(labels)
    scores = sk.precision_recall_fscore_support(labels, predicted, labels=present, zero_division=0)
    for row, label, *expected in zip(rows, present, *scores, strict=True):
        assert (row["label"], row["name"]) == (label, f"class {label}")
        found = [row[name] for name in ("precision", "recall", "f1", "images")]
        assert found == pytest.approx(expected)
        assert row["top1"] == row["recall"] == pytest.approx(row["correct"] / row["images"])
        of_class = labels == label, probabilities[:, label]
        assert row["roc_auc"] == pytest.approx(sk.roc_auc_score(*of_class))
        assert row["average_precision"] == pytest.approx(sk.average_precision_score(*of_class))


def test_curves_pass_through_scikit_learns_points():
    predictions = drawn()
    labels, _, probabilities = said_of(predictions)
    mean, *curves = class_report(predictions)["curves"]
    for curve in curves:
        of_class = labels == curve["label"], probabilities[:, curve["label"]]
        fpr, tpr, _ = sk.roc_curve(*of_class, drop_intermediate=False)
        expected = [np.interp(point, fpr, tpr) for point in CURVE_POINTS]
        np.testing.assert_allclose(curve["tpr"], expected, atol=1e-4)
        precision, recall, _ = sk.precision_recall_curve(*of_class)
        # From the lowest threshold on; the last point that still has the recall has the highest threshold.
        reached = [precision[np.flatnonzero(recall >= point - 1e-12)[-1]] for point in CURVE_POINTS[1:]]
        np.testing.assert_allclose(curve["precision"][1:], reached, atol=1e-4)
    assert mean["label"] is None
    np.testing.assert_allclose(mean["tpr"], np.mean([curve["tpr"] for curve in curves], axis=0), atol=1e-4)


def test_one_class_only_has_no_roc_and_no_kappa():
    predictions = Predictions(np.array([[2, 1], [3, 0]], np.float32), np.array([0, 0]), ["a", "b"])
    report = class_report(predictions)
    assert np.isnan([report["roc_auc"], report["cohen_kappa"]]).all()
    assert report["average_precision"] == report["macro_f1"] == 1


@pytest.mark.parametrize("name", ["classification_report", "one_vs_rest_auc", "confusion_matrix"])
def test_modules_give_the_numbers_of_the_report(name):
    predictions = drawn(absent=(1,))
    said = compute_metric(load_metric(name), predictions)
    if name == "confusion_matrix":
        labels, predicted, _ = said_of(predictions)
        assert said["confusion_matrix"] == sk.confusion_matrix(labels, predicted).tolist()
        return
    report = class_report(predictions)
    assert set(said) <= {*AVERAGES, "weighted_roc_auc", "weighted_average_precision"}
    assert said == pytest.approx({key: report[key] for key in said})


def test_each_validation_of_training_has_the_averages_of_the_counts():
    """In uneven batches; of the same answers as the report, whatever the number of classes."""
    for predictions in (drawn(images=50), drawn(images=50, classes=3)):
        result = evaluate_model(Said(predictions), batches_of(predictions), Accelerator(cpu=True))
        report = class_report(predictions)
        for name in AVERAGES:
            if name not in ("roc_auc", "average_precision"):  # which need all scores
                assert result[f"val_{name}"] == pytest.approx(report[name])


class Said(torch.nn.Module):
    """A model that says what was said: its "images" are rows."""

    def __init__(self, predictions):
        super().__init__()
        self.table = torch.from_numpy(predictions.logits)

    def forward(self, pixel_values):
        return type("Answer", (), {"logits": self.table[pixel_values]})


def batches_of(predictions, size=16):
    rows = torch.arange(len(predictions.labels)).split(size)
    return [{"pixel_values": part, "labels": torch.from_numpy(predictions.labels)[part]} for part in rows]


def test_files_hold_the_whole_matrix(tmp_path):
    predictions = drawn(absent=(3,))
    result = {**class_report(predictions), "coverage": coverage_table(predictions)}
    write_class_files(tmp_path, predictions, result)
    with (tmp_path / "confusion_matrix.csv").open(encoding="utf-8", newline="") as file:
        (_, *columns), *rows = csv.reader(file)
    labels, predicted, _ = said_of(predictions)
    assert [[int(count) for count in row[1:]] for row in rows] == sk.confusion_matrix(
        labels, predicted, labels=range(7)
    ).tolist()
    assert columns == [row[0] for row in rows] == predictions.label_names
    for name in ("confusion_matrix.png", "curves.png"):
        assert Image.open(tmp_path / name).width > 900


def test_letters_that_no_font_has_are_told_in_one_line(tmp_path, capsys, recwarn):
    predictions = drawn(classes=2)
    predictions.label_names[:] = ["\ue000\ue001", "\ue002"]  # private, so that no font anywhere has them
    result = {**class_report(predictions), "coverage": coverage_table(predictions)}
    write_class_files(tmp_path, predictions, result)
    told = capsys.readouterr().err
    assert told.startswith("note: curves.png, confusion_matrix.png: boxes stand for letters")
    assert told.count("\n") == 1
    with matplotlib.rc_context(report._STYLE):
        address = report._as_svg(draw_curves(result["curves"], result["coverage"]))
    assert "\ue000\ue001" in b64decode(address.partition(",")[2]).decode()  # for the browser's fonts
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_a_class_has_whole_pixels_in_the_picture():
    """Of a thousand classes, a mistake that was made once is a pixel of its own."""
    matrix = 9 * np.eye(1000, dtype=int)
    matrix[300, 700] = 1
    figure = draw_confusion_matrix(matrix, [f"$class_{number}" for number in range(1000)])
    (axes, _), size = figure.axes, figure.get_size_inches() * figure.dpi
    assert axes.get_position().width * size[0] == pytest.approx(1000)
    assert axes.get_position().height * size[1] == pytest.approx(1000)


def test_all_right_is_told_in_per_cent():
    figure = draw_confusion_matrix(5 * np.eye(3, dtype=int), ["ant", "bee", "cat"])
    figure.draw_without_rendering()
    beside = figure.axes[1].yaxis
    labels = [label.get_text() for minor in (False, True) for label in beside.get_ticklabels(minor=minor)]
    assert {"100%", "50%"} <= set(labels)
    assert all(label.endswith("%") for label in labels if label)


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.mark.parametrize("classes", [7, 1000])
def test_the_pages_matrix_tells_cells_and_classes(browser, tmp_path, classes):
    images = 400 if classes == 7 else 5000
    predictions = drawn(images=images, classes=classes, seed=1)
    results = {"models": {"model": {**class_report(predictions), "coverage": coverage_table(predictions)}}}
    write_report(tmp_path / "report.html", {"model": predictions}, lambda row: Image.new("RGB", (9, 9)), results)
    labels, predicted, _ = said_of(predictions)
    row, column = next((a, b) for a, b in zip(labels, predicted) if a != b)
    count = int(((labels == row) & (predicted == column)).sum())
    with watched(browser, viewport={"width": 1100, "height": 900}) as page:
        page.goto((tmp_path / "report.html").as_uri())
        page.locator("#matrix").scroll_into_view_if_needed()
        box = page.locator("#matrix").bounding_box()
        for _ in range(2):  # as a whole, and when the wheel has brought the cell nearer
            x, y = ((part + 0.5) / classes for part in (column, row))
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            wanted = f"class {row} taken for class {column}: {count} of {(labels == row).sum()} images"
            assert page.locator("#matrix-cell").inner_text() == wanted
            page.mouse.wheel(0, -100)
        page.fill("#matrix-class", f"class {row}")
        shown = page.locator("#matrix-rows").inner_text()
        right = ((labels == row) & (predicted == row)).sum()
        assert f"class {row}: {right} of {(labels == row).sum()} images found" in shown
        assert f"{right} of {(predicted == row).sum()} answers right" in shown
        page.screenshot(path=tmp_path / "page.png", full_page=True)
    data = (tmp_path / "report.html").read_text().split('id="matrix-data">')[1].split("</script>")[0]
    assert sum(json.loads(data)["cells"][2::3]) == images
