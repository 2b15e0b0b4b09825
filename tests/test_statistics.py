"""Intervals, calibration and comparisons are what their definitions and other implementations say."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, log_loss, recall_score, top_k_accuracy_score
from torch.nn.functional import cross_entropy

from modeling_resnet50.evaluation.predictions import Predictions, ranked
from modeling_resnet50.evaluation.statistics import (
    allowed_digits,
    bootstrap_intervals,
    compare,
    confusions,
    fit_temperature,
    log_probabilities,
    summarize,
)


CLASSES = 8
NAMES = [f"class {number}" for number in range(CLASSES)]


def predictions(images=500, seed=0, sharpness=1.0) -> Predictions:
    """Of a model that is right more often than not: labels are drawn from its own probabilities."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(images, CLASSES))
    probabilities = torch.tensor(logits).softmax(-1).numpy()
    labels = np.array([rng.choice(CLASSES, p=row) for row in probabilities])
    return Predictions((sharpness * logits).astype(np.float32), labels, NAMES)


@pytest.fixture(scope="module")
def said():
    return predictions()


def test_top1_top5_and_loss_equal_scikit_learn(said):
    result = summarize(said)
    for k in (1, 5):
        expected = top_k_accuracy_score(said.labels, said.logits, k=k, labels=range(CLASSES))
        assert result[f"top{k}"]["value"] == pytest.approx(expected)
    probabilities = torch.tensor(said.logits).double().softmax(-1).numpy()
    assert result["loss"]["value"] == pytest.approx(log_loss(said.labels, probabilities, labels=range(CLASSES)))
    assert result["images"] == 500


@pytest.mark.parametrize(
    ("right", "images", "shown"),
    [
        (358, 360, "99.4%"),  # ± 0.8
        (356, 360, "98.9%"),  # ± 1.1
        (324, 360, "90%"),  # ± 3.1
        (360, 360, "100.0%"),  # the rule of three: 0.8 below
        (38_065, 50_000, "76.1%"),  # ± 0.37
        (760_000, 1_000_000, "76.00%"),  # ± 0.08
        (3, 10, "30%"),
        (1, 1, "100%"),
    ],
)
def test_a_share_is_shown_with_the_digits_that_its_interval_allows(right, images, shown):
    half = 1.96 * np.sqrt(right / images * (1 - right / images) / images)  # of the normal distribution
    interval = {"value": right / images, "low": right / images - half, "high": right / images + half}
    assert f"{right / images:.{allowed_digits(interval, images)}%}" == shown


def test_class_accuracies_equal_scikit_learn_and_leave_out_classes_without_images(said):
    some = said.labels != 3
    part = Predictions(said.logits[some], said.labels[some], NAMES)
    rows = summarize(part)["classes"]
    present = [0, 1, 2, 4, 5, 6, 7]
    assert [row["label"] for row in rows] == present
    expected = recall_score(part.labels, part.logits.argmax(-1), average=None, labels=present, zero_division=0)
    assert [row["top1"] for row in rows] == pytest.approx(expected)
    assert sum(row["images"] for row in rows) == some.sum()


def test_confusions_are_the_largest_off_the_diagonal(said):
    matrix = confusion_matrix(said.labels, said.logits.argmax(-1), labels=range(CLASSES))
    rows = summarize(said)["confusions"]
    for row in rows:
        assert row["images"] == matrix[row["label"], row["predicted_label"]]
        assert row["share"] == pytest.approx(row["images"] / matrix[row["label"]].sum())
    np.fill_diagonal(matrix, 0)
    assert [row["images"] for row in rows] == sorted(matrix[matrix > 0], reverse=True)[:20]
    assert confusions(said.labels, said.labels, NAMES) == []


def test_the_bootstrap_of_a_share_is_binomial():
    hits = np.arange(800) < 600
    (interval,) = bootstrap_intervals(hits[None])
    low, high = stats.binom.ppf([0.025, 0.975], 800, 0.75) / 800
    assert interval["value"] == 0.75
    assert interval["low"] == pytest.approx(low, abs=0.003)
    assert interval["high"] == pytest.approx(high, abs=0.003)


def test_the_bootstrap_of_a_mean_is_normal_and_repeats_itself():
    values = np.random.default_rng(0).exponential(size=(1, 2000))
    (interval,) = bootstrap_intervals(values, seed=1)
    error = values.std() / 2000**0.5
    assert interval["low"] == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert interval["high"] == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    assert bootstrap_intervals(values, seed=1) == [interval]
    assert bootstrap_intervals(values, seed=2) != [interval]


def test_the_size_of_the_parts_it_is_computed_in_changes_nothing(said, monkeypatch):
    values = np.random.default_rng(0).normal(size=(2, 300))
    at_once = bootstrap_intervals(values)
    monkeypatch.setattr("modeling_resnet50.evaluation.statistics._NUMBERS_AT_ONCE", 1)
    assert bootstrap_intervals(values) == at_once


def test_one_image_has_no_interval():
    result = summarize(predictions(images=1))
    assert np.isnan([result["top1"]["low"], result["loss"]["high"]]).all()


@pytest.mark.parametrize(("right", "low", "high"), [(True, 0.7961, 1.0), (False, 0.0, 0.2039)])
def test_where_all_or_none_are_right_the_interval_is_wilsons(right, low, high):
    """By hand: n / (n + z²) for 15 of 15, and the same from the other end for none."""
    result = summarize(with_hits(np.full(15, right)))
    assert result["top1"] == {
        "value": float(right), "low": pytest.approx(low, abs=1e-4), "high": pytest.approx(high, abs=1e-4)
    }  # fmt: skip
    assert result["top5"] == {"value": 1.0, "low": 1.0, "high": 1.0}  # of two classes, it could be nothing else
    assert result["temperature"] == (0.05 if right else 20)  # there is no best one


def test_reliability_bins_equal_scikit_learn(said):
    result = summarize(said)
    probabilities = torch.tensor(said.logits).softmax(-1).numpy()
    correct = probabilities.argmax(-1) == said.labels
    accuracy, confidence = calibration_curve(correct, probabilities.max(-1), n_bins=15)
    filled = [row for row in result["reliability"] if row["images"]]
    assert [row["accuracy"] for row in filled] == pytest.approx(accuracy)
    assert [row["confidence"] for row in filled] == pytest.approx(confidence)
    weights = [row["images"] / 500 for row in filled]
    assert result["ece"] == pytest.approx(np.dot(weights, np.abs(accuracy - confidence)))


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_spoilt_the_calibration(sharpness):
    said = predictions(images=4000, sharpness=sharpness)
    result = summarize(said)
    assert result["temperature"] == pytest.approx(sharpness, rel=0.06)
    assert result["ece_at_temperature"] < 0.03
    # LBFGS, as in the paper's code, finds the same
    log_temperature = torch.zeros(1, requires_grad=True)
    logits, labels = torch.tensor(said.logits), torch.tensor(said.labels)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = cross_entropy(logits / log_temperature.exp(), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert fit_temperature(said) == pytest.approx(log_temperature.exp().item(), rel=2e-3)
    assert result["loss_at_temperature"] == pytest.approx(closure().item(), rel=1e-5)


def test_log_probabilities_are_exact_for_large_logits():
    said = Predictions(np.array([[300, 0, -300], [0, 0, 0]], np.float32), np.array([1, 2]), NAMES[:3])
    of_truth, confidence = log_probabilities(said)
    assert of_truth == pytest.approx([-300, -np.log(3)])
    assert confidence == pytest.approx([1, 1 / 3])


def with_hits(hits) -> Predictions:
    """A model of two classes that is right where it is told to be."""
    logits = np.stack([hits, ~np.array(hits)], axis=1).astype(np.float32)
    return Predictions(logits, np.zeros(len(hits), int), NAMES[:2])


def test_mcnemar_counts_the_images_that_only_one_gets_right():
    first = with_hits(np.array([1] * 60 + [0] * 12 + [1] * 3 + [0] * 25, bool))
    second = with_hits(np.array([1] * 60 + [1] * 12 + [0] * 3 + [0] * 25, bool))
    result = compare(first, second)
    assert (result["only_first"], result["only_second"]) == (3, 12)
    # twice the tail of a fair coin: 2 * sum(C(15, k) for k in 0..3) / 2**15
    assert result["p_value"] == pytest.approx(2 * (1 + 15 + 105 + 455) / 2**15)
    assert result["top1_difference"]["value"] == pytest.approx(0.09)


def test_the_paired_interval_is_narrower_than_that_of_unpaired_models():
    rng = np.random.default_rng(0)
    hits = rng.random(1000) < 0.7
    flipped = hits ^ (rng.random(1000) < 0.02)
    result = compare(with_hits(hits), with_hits(flipped))["top1_difference"]
    differences = flipped.astype(float) - hits
    error = differences.std() / 1000**0.5
    assert result["high"] - result["low"] == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_a_model_does_not_differ_from_itself(said):
    result = compare(said, said)
    assert result["p_value"] == 1.0
    assert result["top1_difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_of_equal_logits_the_first_class_comes_first():
    """As argmax has it, on any device; in 16 bits ties are not rare."""
    logits = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0, 2.0], [0.0] * 6]).repeat(500, 200)
    assert ranked(logits, 5)[:2].tolist() == [[1, 2, 4, 7, 8], [0, 1, 2, 3, 4]]
    assert torch.equal(ranked(logits, 5)[:, 0], logits.argmax(-1))
    distinct = torch.randn(50, 1000)
    assert torch.equal(ranked(distinct, 5), distinct.topk(5).indices)
    assert ranked(distinct[:, :3], 5).shape == (50, 3)
