"""Training that starts from another model's weights, or learns from its answers."""

import pytest
import timm
import torch
from PIL import Image
from shared import PROJECT, TINY, as_if_trained, tiny_arguments
from transformers import AutoModel, BitImageProcessor, ResNetConfig, ResNetForImageClassification

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.model_folder import image_processor, load_model, save_model_and_processor
from modeling_resnet50.hub.pretrained import load_teacher
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


MEAN, STD = Recipe().image_mean, Recipe().image_std
NARROW = (16, 24, 32, 40)  # channels of timm's stages


def this_librarys(folder):
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=7)))
    save_model_and_processor(folder, model, image_processor(Preprocessing.by_ratio(32, 0.875, "bilinear", MEAN, STD)))
    return body(folder)


def timms(folder):
    small = {"layers": (1, 1, 1, 1), "channels": NARROW}
    model = as_if_trained(timm.create_model("resnet50", **small, num_classes=7))
    timm.models.save_for_hf(model, folder, model_args=small)
    return lambda pixel_values: model.forward_head(model.forward_features(pixel_values), pre_logits=True)


def transformers_own(folder):
    model = as_if_trained(ResNetForImageClassification(ResNetConfig(**TINY, num_labels=7)))
    model.save_pretrained(folder)
    BitImageProcessor(image_mean=MEAN, image_std=STD).save_pretrained(folder)
    return lambda pixel_values: model.resnet(pixel_values).pooler_output.flatten(1)


def body(folder):
    model = AutoModel.from_pretrained(folder).eval()
    return lambda pixel_values: model(pixel_values).pooler_output.flatten(1)


@pytest.mark.parametrize("make_source", [this_librarys, timms, transformers_own])
def test_fine_tuning_starts_from_the_weights_of_any_library(make_source, image_folder, tmp_path, train):
    """With a learning rate of nothing, the features that come out are those that went in; the classifier is new."""
    features = make_source(tmp_path / "source")
    arguments = tiny_arguments(
        image_folder,
        tmp_path / "run",
        model_name_or_path=tmp_path / "source",
        learning_rate=0,
        freeze_batch_norm=True,
        config_overrides="{}",
        num_train_epochs=1,
    )
    arguments[1] = str(PROJECT / "recipes" / "finetune.yaml")
    train(arguments)
    tuned, _ = load_model(str(tmp_path / "run" / "final"))
    assert list(tuned.config.id2label.values()) == ["ant", "bee", "cat"]
    assert tuned.fc.weight.shape[0] == 3
    pixel_values = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            body(tmp_path / "run" / "final")(pixel_values), features(pixel_values), rtol=1e-5, atol=1e-5
        )


def test_a_classifier_of_the_same_classes_is_kept(image_folder, tmp_path, train, trained):
    again = {"model_name_or_path": trained() / "final", "learning_rate": 0, "freeze_batch_norm": True}
    train(tiny_arguments(image_folder, tmp_path / "second", **again, num_train_epochs=1))
    first, second = (load_model(str(run / "final"))[0].state_dict() for run in (trained(), tmp_path / "second"))
    assert all(torch.equal(first[name], second[name]) for name in first if "tracked" not in name)


def kullback_leibler(student, teacher, processor, folder) -> float:
    """Mean over the training images, by hand."""
    images = [Image.open(path).convert("RGB") for path in sorted(folder.glob("train/*/*"))]
    pixel_values = processor(images, return_tensors="pt").pixel_values
    with torch.no_grad():
        p, q = (model.eval()(pixel_values).logits.softmax(-1) for model in (teacher, student))
    return (p * (p / q).log()).sum(-1).mean().item()


@pytest.mark.parametrize("library", ["this one", "timm"])
def test_a_student_comes_nearer_to_its_teacher(library, image_folder, tmp_path, train):
    teacher_folder = tmp_path / "teacher"
    if library == "timm":
        model = as_if_trained(timm.create_model("resnet10t", channels=NARROW, num_classes=3))
    else:
        model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3)))
    model.fc.bias.data = torch.tensor([2.0, 0.0, -2.0])  # it has an opinion
    if library == "timm":
        timm.models.save_for_hf(model, teacher_folder, model_args={"channels": NARROW})
    else:
        save_model_and_processor(teacher_folder, model, image_processor(Preprocessing(16, 16)))
    train(
        tiny_arguments(
            image_folder,
            tmp_path / "student",
            teacher=teacher_folder,
            distillation_alpha=1.0,
            seed=7,
            learning_rate=0.1,
            num_train_epochs=4,
        )
    )
    student, processor = load_model(str(tmp_path / "student" / "final"))
    teacher, *_ = load_teacher(str(teacher_folder))
    torch.manual_seed(7)
    untrained = ResNet50ForImageClassification(student.config)
    before = kullback_leibler(untrained, teacher, processor, image_folder)
    assert kullback_leibler(student, teacher, processor, image_folder) < 0.5 * before


def test_a_teacher_of_other_classes_is_refused(image_folder, tmp_path, train):
    model = timm.create_model("resnet10t", channels=NARROW, num_classes=4)
    timm.models.save_for_hf(model, tmp_path / "teacher", model_args={"channels": NARROW})
    with pytest.raises(UserError, match="tells 4 classes apart, but the data has 3"):
        train(tiny_arguments(image_folder, tmp_path / "run", teacher=tmp_path / "teacher"))
