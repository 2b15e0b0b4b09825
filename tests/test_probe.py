"""Probes: features are what the last layer gets, and the classifiers on them are scikit-learn's."""

import json

import numpy as np
import pytest
import torch
from conftest import TINY, as_if_trained
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.evaluation.predictions import Predictions
from modeling_resnet50.evaluation.probe import FeatureModel, probe
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
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
    said = probe("knn", known, asked)
    np.testing.assert_allclose(np.exp(said.logits), (20 * votes + 0.25) / 21, rtol=1e-3)
    assert (said.labels is asked.labels, said.label_names) == (True, ["a", "b", "c", "d"])
    assert (said.logits.argmax(1) == asked.labels)[asked.labels != 2].mean() > 0.6


def test_the_linear_probe_is_logistic_regression_on_standardised_features(features):
    known, asked = features
    mean, std = known.logits.mean(axis=0), known.logits.std(axis=0)
    fitted = LogisticRegression(max_iter=1000).fit((known.logits - mean) / std, known.labels)
    said = probe("linear", known, asked)
    expected = fitted.predict_proba((asked.logits - mean) / std)
    np.testing.assert_allclose(np.exp(said.logits)[:, [0, 1, 3]], expected, atol=1e-4)
    assert np.isfinite(said.logits).all()
    assert np.exp(said.logits)[:, 2].max() < 1e-30  # a class without training images is no answer


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


def test_a_model_of_other_classes_is_probed(image_folder, tmp_path, capsys):
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
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path / "m"), *arguments, "--streaming"])
    assert "--probe judges a model's features by one data set" in capsys.readouterr().err
