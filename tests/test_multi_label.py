"""`problem_type`, as transformers promises it: the loss, and the scores, in every format and command."""

import json

import pytest
import torch
from PIL import Image
from shared import TINY, as_if_trained, write_image
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    pipeline,
)

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.architecture import model_config
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.classifiers import open_classifier
from modeling_resnet50.hub.importing import import_model
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.hub.pretrained import load_teacher, starting_model
from modeling_resnet50.hub.spaces.gradio_space import app
from resnet50_cli import main
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


NAMES = ["cloud", "sea", "ship"]


@pytest.fixture(scope="module")
def multi_label(tmp_path_factory):
    """A folder, its model, and a photograph."""
    torch.manual_seed(0)
    labels = {"id2label": dict(enumerate(NAMES)), "label2id": {name: number for number, name in enumerate(NAMES)}}
    small = {"depths": [1], "hidden_sizes": [16], "embedding_size": 8}
    config = ResNet50Config(**small, **labels, problem_type="multi_label_classification")
    model = as_if_trained(ResNet50ForImageClassification(config))
    folder = tmp_path_factory.mktemp("multi_label")
    save_model_and_processor(
        folder / "model", model, image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", [0.5] * 3, [0.25] * 3))
    )
    write_image(folder / "photo.png", seed=1)
    return folder / "model", model, folder / "photo.png"


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_multi_label_loss_and_gradient_are_those_of_transformers(multi_label, dtype):
    """Of its own ResNet, which takes floating point labels only; and by hand."""
    _, ours, _ = multi_label
    native = ResNetForImageClassification(ResNetConfig(**TINY, num_labels=3, problem_type=ours.config.problem_type))
    labels = torch.tensor([[1, 0, 1], [0, 0, 0]], dtype=dtype)
    logits = ours(torch.randn(2, 3, 32, 32)).logits.detach().requires_grad_()
    loss = ours._loss(logits, labels)
    p = logits.sigmoid()
    by_hand = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    torch.testing.assert_close(loss, by_hand)
    torch.testing.assert_close(loss, native.loss_function(labels.float(), logits, native.config))
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, (p - labels) / 6)


def test_it_is_saved_and_comes_back_and_the_loss_with_it(multi_label):
    folder, model, _ = multi_label
    again = AutoModelForImageClassification.from_pretrained(folder)
    assert again.config.problem_type == "multi_label_classification"
    pixel_values, labels = torch.randn(2, 3, 32, 32), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    loss = again(pixel_values, labels=labels).loss
    assert torch.equal(loss, model(pixel_values, labels=labels).loss)
    model.config.problem_type = None  # and what is set later counts as well
    with pytest.raises(ValueError, match="add up to 1"):
        model(pixel_values, labels=labels)
    model.config.problem_type = "multi_label_classification"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_labels": 3, "problem_type": "regression"}, "'regression' has no loss here"),
        ({"num_labels": 1}, "a single class"),
    ],
)
def test_a_loss_that_is_none_of_classification_is_refused_by_name(fields, message):
    model = ResNet50ForImageClassification(ResNet50Config(**TINY, **fields))
    pixel_values = torch.randn(2, 3, 32, 32)
    assert model(pixel_values).logits.shape == (2, fields["num_labels"])
    with pytest.raises(ValueError, match=message):
        model(pixel_values, labels=torch.zeros(2, dtype=torch.int64))


def test_predict_demo_and_every_export_give_the_pipelines_scores(multi_label, tmp_path, remote_code, capsys):
    folder, _, photo = multi_label
    expected = {
        answer["label"]: answer["score"] for answer in pipeline("image-classification", str(folder))(str(photo))
    }
    assert sum(expected.values()) != pytest.approx(1, abs=0.01)
    for export in ("transformers", "onnx"):
        main(["export", str(folder), str(tmp_path / export), "--format", export])
        assert AutoConfig.from_pretrained(tmp_path / export).problem_type == "multi_label_classification"
    main(["import", str(tmp_path / "transformers"), str(tmp_path / "imported")])
    sources = [folder, tmp_path / "transformers", tmp_path / "onnx", tmp_path / "imported"]
    for source in sources:
        capsys.readouterr()
        main(["predict", str(source), str(photo), "--json"])
        predicted = json.loads(capsys.readouterr().out)["predictions"]
        assert {row["label"]: row["score"] for row in predicted} == pytest.approx(expected, abs=1e-5), source
    for asked in (app.open_classifier(str(folder)), app.Classifier("onnx", *_opened(tmp_path / "onnx"), False)):
        scores = asked.scores(asked.pixel_values(Image.open(photo)))
        assert dict(zip(NAMES, scores)) == pytest.approx(expected, abs=1e-5)


def _opened(source):
    classifier = open_classifier(str(source))
    return classifier.model, image_processor(classifier.preprocessing), classifier.label_names


def test_what_compares_with_one_class_for_each_image_refuses_it(multi_label, capsys):
    folder, _, _ = multi_label
    with pytest.raises(SystemExit):
        main(["evaluate", str(folder), "--dataset", "digits"])
    assert "is a multi-label model" in capsys.readouterr().err
    with pytest.raises(UserError, match="is a multi-label model"):
        load_teacher(str(folder))


def test_training_from_its_weights_makes_a_model_of_one_class_for_each_image(multi_label):
    folder, _, _ = multi_label
    recipe = Recipe(model_name_or_path=str(folder), image_mean=[0.5] * 3, image_std=[0.25] * 3)
    assert starting_model(recipe, NAMES).config.problem_type is None


def test_a_model_that_predicts_numbers_gives_its_features_only(tmp_path):
    native = ResNetForImageClassification(ResNetConfig(**TINY, num_labels=1, problem_type="regression"))
    native.save_pretrained(tmp_path)
    image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", [0.5] * 3, [0.25] * 3)).save_pretrained(tmp_path)
    for opening in (open_classifier, import_model):
        with pytest.raises(UserError, match="predicts numbers"):
            opening(str(tmp_path))
    imported = import_model(str(tmp_path), classifier="new", num_labels=4).model
    assert imported.config.problem_type is None


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([[1, 0, 1], [0, 1, 0]]), torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), torch.zeros(2, 3)],
    ids=["integers", "several", "none"],
)
def test_marks_of_several_classes_are_no_shares_of_one(labels):
    """Cross-entropy would take them; transformers would guess by the type that several classes are meant."""
    model = ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3))
    with pytest.raises(ValueError, match=r"set config\.problem_type = 'multi_label_classification'"):
        model(torch.randn(2, 3, 32, 32), labels=labels)
    shares = torch.softmax(torch.randn(2, 3), -1).bfloat16()
    assert model(torch.randn(2, 3, 32, 32), labels=shares).loss.isfinite()


def test_a_recipe_of_several_classes_an_image_is_refused_by_name():
    recipe = Recipe(config_overrides={"problem_type": "multi_label_classification"})
    with pytest.raises(UserError, match=r"problem_type 'multi_label_classification' is left out: train\.py"):
        model_config(recipe)
