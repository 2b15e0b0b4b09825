"""Probes: features are what the last layer gets, and the classifiers on them are scikit-learn's."""

import json
import sys

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from shared import TINY, as_if_trained
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn
from transformers import AutoModelForImageClassification, ResNetConfig, ResNetForImageClassification

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.evaluation.predictions import Predictions
from modeling_resnet50.evaluation.probe import FeatureModel, fit_probe
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.hub.publishing import model_files
from resnet50_cli import main
from resnet50_recipe.errors import UserError


@pytest.fixture(scope="module")
def features():
    """Of four classes, of which the training images show three."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 8))

    def draw(labels):
        values = centres[labels] + rng.normal(scale=1.2, size=(len(labels), 8))
        return Predictions(values.astype(np.float32), labels, ["a", "b", "c", "d"])

    return draw(rng.choice([0, 1, 3], 90)), draw(rng.integers(0, 4, 40))


def test_neighbours_vote_by_their_cosine(features):
    known, asked = features
    cosines = cosine_similarity(asked.logits, known.logits)
    votes = np.zeros((40, 4))
    for row, near in enumerate(np.argsort(-cosines, axis=1)[:, :20]):
        np.add.at(votes[row], known.labels[near], np.exp(cosines[row, near] / 0.07))
    votes /= votes.sum(axis=1, keepdims=True)
    said = fit_probe("knn", known).predictions(asked)
    np.testing.assert_allclose(np.exp(said.logits), (20 * votes + 0.25) / 21, rtol=1e-3)
    assert (said.labels is asked.labels, said.label_names) == (True, ["a", "b", "c", "d"])
    assert (said.logits.argmax(1) == asked.labels)[asked.labels != 2].mean() > 0.6


def test_the_linear_probe_is_logistic_regression_on_standardised_features(features):
    known, asked = features
    mean, std = known.logits.mean(axis=0), known.logits.std(axis=0)
    fitted = LogisticRegression(max_iter=1000).fit((known.logits - mean) / std, known.labels)
    said = fit_probe("linear", known).predictions(asked)
    expected = fitted.predict_proba((asked.logits - mean) / std)
    np.testing.assert_allclose(np.exp(said.logits)[:, [0, 1, 3]], expected, atol=1e-4)
    assert np.isfinite(said.logits).all()
    assert np.exp(said.logits)[:, 2].max() < 1e-30  # a class without training images is no answer


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_probe_is_a_layer_that_gives_its_probabilities(features, classes):
    known, asked = (
        Predictions(split.logits[split.labels < classes], split.labels[split.labels < classes], split.label_names)
        for split in features
    )
    probe = fit_probe("linear", known)
    layer = np.exp(asked.logits @ probe.weight.T + probe.bias)
    np.testing.assert_allclose(layer / layer.sum(1, keepdims=True), probe.probabilities(asked.logits), rtol=1e-3)


def test_features_are_what_the_classifier_gets():
    images = torch.rand(2, 3, 32, 32)
    ours = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=7))).eval()
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=7)
    theirs = ResNetForImageClassification(config).eval()
    for model, head in ((ours, ours.fc), (theirs, theirs.classifier[1])):
        with torch.no_grad():
            found = FeatureModel(model, "x")(images).logits
            torch.testing.assert_close(head(found), model(pixel_values=images).logits)
    headless = nn.Conv2d(3, 7, 1)
    headless.config = config
    with pytest.raises(UserError, match="x has no linear classifier whose features"):
        FeatureModel(headless, "x")


def test_a_model_of_other_classes_is_probed(image_folder, tmp_path, capsys, monkeypatch):
    torch.manual_seed(0)
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=7)))
    save_model_and_processor(tmp_path / "m", model, image_processor(Preprocessing(32, 16)))
    arguments = ["--dataset", str(image_folder), "--num_workers", "0", "--probe", "knn"]
    main(["evaluate", str(tmp_path / "m"), *arguments, "--output", str(tmp_path / "out")])
    assert "a knn probe, fitted on the model's features of the training images:" in capsys.readouterr().out
    (result,) = json.loads((tmp_path / "out" / "results.json").read_text())["models"].values()
    assert (result["probe"], result["num_labels"], result["images"]) == ("knn", 3, 15)
    assert not (tmp_path / "out" / "model-index.yaml").exists()  # that would say it of the model
    assert "By a knn probe" in (tmp_path / "out" / "report.html").read_text()
    assert not (tmp_path / "out" / "probe").exists()
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path / "m"), *arguments, "--streaming"])
    assert "--probe judges a model's features by one data set" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path / "m"), *arguments])
    assert "a probe needs more packages (sklearn.linear_model): pip install 'modeling-resnet50[probe]'" in (
        capsys.readouterr().err
    )


@pytest.mark.usefixtures("without_pages")
def test_a_linear_probe_is_a_model_to_evaluate_and_publish(image_folder, tmp_path, capsys):
    """Which says of the validation images what the probe said, and knows nothing of the classes before."""
    torch.manual_seed(0)
    config = ResNet50Config(**TINY, num_labels=7, confidence_threshold={"threshold": 0.5})
    save_model_and_processor(
        tmp_path / "m",
        as_if_trained(ResNet50ForImageClassification(config)),
        image_processor(Preprocessing(36, 32, crop_mode="squash")),
    )
    arguments = ["--dataset", str(image_folder), "--num_workers", "0"]
    main(["evaluate", str(tmp_path / "m"), *arguments, "--probe", "linear", "--output", str(tmp_path / "out")])
    assert f"{tmp_path / 'out' / 'probe'}: the network with this classifier" in capsys.readouterr().err
    (said,) = json.loads((tmp_path / "out" / "results.json").read_text())["models"].values()
    probe = tmp_path / "out" / "probe"
    model = AutoModelForImageClassification.from_pretrained(probe)
    assert (model.config.num_labels, model.config.confidence_threshold) == (3, None)
    main(["evaluate", str(probe), *arguments, "--output", str(tmp_path / "again")])
    (again,) = json.loads((tmp_path / "again" / "results.json").read_text())["models"].values()
    assert again["protocol"] == said["protocol"]  # squashed, too
    assert again["classes"] == said["classes"]
    assert again["loss"]["value"] == pytest.approx(said["loss"]["value"], rel=1e-4)
    card = ModelCard.load(probe / "README.md")
    assert card.data.eval_results[0].metric_value == round(said["top1"]["value"], 6)
    assert f"fitted on\n24 images of `{image_folder.name}`" in card.text
    assert str(tmp_path) not in card.content
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= set(model_files(probe))


@pytest.mark.usefixtures("without_pages")
def test_a_network_of_others_has_a_probe_and_no_model(image_folder, tmp_path, capsys):
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=7)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "theirs")
    image_processor(Preprocessing(36, 32)).save_pretrained(tmp_path / "theirs")
    arguments = ["--dataset", str(image_folder), "--num_workers", "0", "--output", str(tmp_path / "out")]
    main(["evaluate", str(tmp_path / "theirs"), *arguments, "--probe", "linear"])
    assert "a linear probe" in capsys.readouterr().out
    assert not (tmp_path / "out" / "probe").exists()
