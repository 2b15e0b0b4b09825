"""When a model had better say nothing: coverage, thresholds and foreign images; numbers by hand and scikit-learn's."""

import json
import shutil

import numpy as np
import pytest
import torch
from shared import TINY, as_if_trained, write_image
from sklearn import metrics as sk
from transformers import AutoImageProcessor

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.commands.abstaining import foreign_images, keep_threshold
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.evaluation.predictions import Predictions
from modeling_resnet50.evaluation.selective import COVERAGES, coverage_table, familiarity, tell_apart, threshold_for
from modeling_resnet50.hub.exporting import as_resnet_config
from modeling_resnet50.hub.model_folder import image_processor, load_model, save_model_and_processor
from resnet50_cli import main


NAMES = ["ant", "bee", "cat"]


def said(confidences, correct) -> Predictions:
    """Of two classes; class 0 is the answer to all."""
    confidences = np.array(confidences)
    logits = np.log(np.stack([confidences, 1 - confidences], axis=1)).astype(np.float32)
    return Predictions(logits, np.where(correct, 0, 1), ["yes", "no"])


TEN = said([0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.58, 0.55], [1, 1, 0, 1, 1, 1, 1, 0, 0, 1])


def test_coverage_by_hand():
    rows = {round(row["coverage"], 2): row for row in coverage_table(TEN)}
    assert sorted(rows) == pytest.approx([number / 10 for number in range(1, 11)])  # 5 % of ten is one
    for coverage, right, threshold in ((0.1, 1, 0.95), (0.3, 2, 0.85), (0.7, 6, 0.65), (1.0, 7, 0.55)):
        assert rows[coverage]["images"] == round(10 * coverage)
        assert rows[coverage]["accuracy"] == pytest.approx(right / rows[coverage]["images"])
        assert rows[coverage]["threshold"] == pytest.approx(threshold)


def test_equal_confidences_are_answered_together():
    rows = coverage_table(said([0.9, 0.8, 0.8, 0.8], [1, 0, 1, 1]))
    assert {row["coverage"] for row in rows} == {0.25, 1.0}
    found = threshold_for(said([0.9, 0.8, 0.8, 0.8], [1, 0, 1, 1]), 0.8)
    assert (found["coverage"], found["precision"]) == (0.25, 1)


@pytest.mark.parametrize(
    ("wanted", "images", "right", "between"),
    [
        (0.7, 10, 7, (0, 0)),  # all may be answered
        (0.75, 8, 6, (0.58, 0.6)),
        (0.85, 7, 6, (0.6, 0.65)),  # 0.667 at three, and again more at seven: as many as possible
        (0.9, 2, 2, (0.85, 0.9)),
        (1.0, 2, 2, (0.85, 0.9)),
    ],
)
def test_the_threshold_for_a_precision_by_hand(wanted, images, right, between):
    found = threshold_for(TEN, wanted)
    assert (found["images"], found["coverage"]) == (images, images / 10)
    assert found["precision"] == pytest.approx(right / images)
    assert found["precision"] >= wanted
    assert found["threshold"] == pytest.approx(sum(between) / 2)
    assert found["low"] < found["precision"] <= found["high"]


def test_a_precision_out_of_reach_has_no_threshold():
    found = threshold_for(said([0.9, 0.8], [0, 1]), 0.9)
    assert found == {"wanted_precision": 0.9} | dict.fromkeys(
        ("threshold", "coverage", "images", "precision", "low", "high")
    )


@pytest.mark.parametrize("ties", [False, True])
def test_scores_and_areas_are_scikit_learns(ties):
    rng = np.random.default_rng(1)
    own, foreign = rng.normal(size=(120, 5)).astype(np.float32), rng.normal(size=(75, 5)).astype(np.float32)
    own[np.arange(120), rng.integers(0, 5, 120)] += 2
    if ties:
        own, foreign = own[rng.integers(0, 20, 120)], np.concatenate([foreign[:70], own[:5]])
    is_own = np.repeat([1, 0], [len(own), len(foreign)])
    logits = np.concatenate([own, foreign])
    expected = {
        "max_softmax": torch.from_numpy(logits).double().softmax(1).amax(1).numpy(),
        "max_logit": logits.max(axis=1),
        "energy": torch.from_numpy(logits).double().logsumexp(1).numpy(),
    }
    found, scores = tell_apart(own, foreign), familiarity(logits)
    assert found.keys() == expected.keys()
    for name, score in expected.items():
        assert found[name]["auroc"] == pytest.approx(sk.roc_auc_score(is_own, score))
        fpr, tpr, _ = sk.roc_curve(is_own, score, drop_intermediate=False)
        assert found[name]["fpr95"] == pytest.approx(fpr[np.flatnonzero(tpr >= 0.95)[0]])
        passing = scores[name] >= found[name]["threshold"]
        assert passing[is_own == 1].mean() >= 0.95
        assert passing[is_own == 0].mean() == pytest.approx(found[name]["fpr95"])


def test_foreign_images_have_a_label_that_the_model_knows(tmp_path):
    for name in ("a.png", "below/b.png"):
        write_image(tmp_path / name, seed=0)
    dataset = foreign_images(tmp_path, ["crane", "crane", "tench"])
    assert list(dataset["label"]) == [0, 0]
    assert dataset.features["label"].names == ["tench"]  # the only name that says which class


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    torch.manual_seed(0)
    label2id = {name: number for number, name in enumerate(NAMES)}
    config = ResNet50Config(**TINY, id2label=dict(enumerate(NAMES)), label2id=label2id)
    folder = tmp_path_factory.mktemp("abstaining") / "model"
    model = as_if_trained(ResNet50ForImageClassification(config))
    save_model_and_processor(folder, model, image_processor(Preprocessing(32, 16)))
    assert "confidence_threshold" not in json.loads((folder / "config.json").read_text())
    return folder


@pytest.fixture
def own_folder(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "model")


def test_a_threshold_is_found_kept_and_gone_by(own_folder, image_folder, tmp_path, capsys):
    """As a user does it: evaluate beside foreign images, then predict, which answers none below the threshold."""
    for number in range(6):
        write_image(tmp_path / "foreign" / f"{number}.png", seed=900 + number)
    out = tmp_path / "out"
    arguments = ["--dataset", str(image_folder), "--num_workers", "0", "--output", str(out)]
    more = ["--foreign", str(tmp_path / "foreign"), "--wanted_precision", "0.5"]
    main(["evaluate", str(own_folder), *arguments, *more])
    shown = capsys.readouterr()
    (model,) = json.loads((out / "results.json").read_text())["models"].values()
    assert (model["foreign"]["name"], model["foreign"]["images"]) == ("foreign", 6)
    assert "against 6 foreign images: max_softmax AUROC" in shown.out
    assert len(model["coverage"]) == len(COVERAGES)
    found = model["threshold"]
    assert f"with a confidence of at least {found['threshold']:.4f}" in shown.out
    assert "its config.json has the threshold" in shown.err
    kept = load_model(str(own_folder))[0].config
    assert kept.confidence_threshold == found | {"dataset": image_folder.name}
    assert as_resnet_config(kept).confidence_threshold == kept.confidence_threshold  # ONNX and transformers' folders
    assert {"confusion_matrix.csv", "confusion_matrix.png", "curves.png", "report.html"} <= {
        path.name for path in out.iterdir()
    }
    assert "Foreign images" in (out / "report.html").read_text()

    images = sorted(str(path) for path in (image_folder / "val").rglob("*.jpg"))
    main(["predict", str(own_folder), *images, "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    answered = [not row["none"] for row in rows]
    assert sum(answered) == found["images"]
    assert answered == [row["predictions"][0]["score"] >= found["threshold"] for row in rows]
    main(["predict", str(own_folder), images[0], "--threshold", "1"])
    assert "  none: no class reaches 100.00%; most likely:\n" in capsys.readouterr().out
    main(["predict", str(own_folder), *images, "--json", "--threshold", "0"])
    assert "none" not in json.loads(capsys.readouterr().out.splitlines()[0])


def test_only_this_librarys_folders_keep_a_threshold(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    assert not keep_threshold(tmp_path, {}, "digits")
    assert (tmp_path / "config.json").read_text() == '{"model_type": "resnet"}'
    assert not keep_threshold(tmp_path / "user" / "name", {}, "digits")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "x", "--suite", "imagenet-a", "--suite_root", ".", "--wanted_precision", "1"], "need --dataset"),
        (["evaluate", "x", "--dataset", "y", "--wanted_precision", "95"], "--wanted_precision must be above 0 and at"),
        (["evaluate", "x", "--dataset", "y", "--foreign", "nowhere"], "--foreign nowhere: no images there"),
        (["predict", "x", "y.jpg", "--threshold", "50"], r"--threshold must be in [0, 1], got 50.0"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_the_card_tells_the_threshold(trained, tmp_path):
    run = shutil.copytree(trained(), tmp_path / "run")
    found = {"wanted_precision": 0.9, "threshold": 0.7531, "coverage": 0.625, "images": 10, "precision": 0.91,
             "low": 0.6, "high": 0.98}  # fmt: skip
    assert "None of these" not in (run / "best" / "README.md").read_text()
    assert "| macro F1 |" in (run / "best" / "README.md").read_text()
    own = Preprocessing.from_processor(AutoImageProcessor.from_pretrained(run / "best"), "it").as_result()
    for other in ({"flip": True}, {"flip": False, "image_size": 24}):  # predict prepares images as the model says
        assert not keep_threshold(run / "best", {"threshold": found, "protocol": {**own, **other}}, str(tmp_path))
    result = {"threshold": found, "protocol": {**own, "flip": False}}
    assert keep_threshold(run / "best", result, str(tmp_path))
    card = " ".join((run / "best" / "README.md").read_text().split())
    assert "a `confidence_threshold` of 0.7531: below it" in card
    assert f"Of `{tmp_path.name}`, 62.5% of the images are answered, and 91.0% of these answers are right" in card
    assert str(tmp_path) not in card
    assert "It differs" not in card or "confidence_threshold=" not in card
