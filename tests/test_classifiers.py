"""A classifier from anywhere is opened as it is, and judged to the same numbers."""

import json

import onnx
import pytest
import timm
import torch
import torchvision
from shared import TINY, as_if_trained, write_image
from timm.data import ImageNetInfo
from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.class_names import imagenet_words
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.classifiers import open_classifier
from modeling_resnet50.hub.exporting import export_transformers
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.hub.onnx import export_onnx
from modeling_resnet50.hub.quantization import Int8Quantizer
from resnet50_cli import main
from resnet50_recipe.errors import UserError


MEAN_STD = [0.48, 0.45, 0.40], [0.22, 0.23, 0.24]
NAMES = ["ant", "bee", "cat"]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    label2id = {name: number for number, name in enumerate(NAMES)}
    config = ResNet50Config(**TINY, id2label=dict(enumerate(NAMES)), label2id=label2id)
    return as_if_trained(ResNet50ForImageClassification(config))


@pytest.fixture(scope="module")
def processor():
    return image_processor(Preprocessing.by_ratio(16, 0.8, "bicubic", *MEAN_STD))


@pytest.fixture(scope="module")
def onnx_folder(network, processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(network, processor, folder)
    quantizer = Int8Quantizer(folder / "onnx/model.onnx", [torch.randn(8, 3, 16, 16).numpy()])
    quantizer.write(folder / "onnx/model_quantized.onnx")
    return folder


@pytest.fixture
def pixel_values():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def logits_of(classifier, pixel_values):
    with torch.no_grad():
        return classifier.model(pixel_values=pixel_values).logits


def protocol_of(classifier):
    preprocessing = classifier.preprocessing
    assert (list(preprocessing.image_mean), list(preprocessing.image_std)) == MEAN_STD
    return preprocessing.resize_size, preprocessing.image_size, preprocessing.interpolation


@pytest.mark.parametrize("kind", ["ours", "transformers", "onnx folder", "onnx file"])
def test_logits_names_and_preparation_are_those_that_were_saved(
    kind, network, processor, onnx_folder, pixel_values, tmp_path
):
    if kind == "ours":
        save_model_and_processor(tmp_path, network, processor)
    elif kind == "transformers":
        export_transformers(network, processor, tmp_path)
    source = {"onnx folder": onnx_folder, "onnx file": onnx_folder / "onnx" / "model.onnx"}.get(kind, tmp_path)
    classifier = open_classifier(str(source))
    assert classifier.label_names == NAMES
    assert protocol_of(classifier) == (20, 16, "bicubic")
    assert classifier.is_onnx == kind.startswith("onnx")
    with torch.no_grad():
        torch.testing.assert_close(logits_of(classifier, pixel_values), network(pixel_values).logits)


def test_the_quantized_onnx_file_opens_with_its_names_and_preparation(onnx_folder, pixel_values):
    classifier = open_classifier(str(onnx_folder / "onnx" / "model_quantized.onnx"))
    assert classifier.label_names == NAMES
    assert protocol_of(classifier) == (20, 16, "bicubic")
    assert logits_of(classifier, pixel_values).shape == (4, 3)


def test_transformers_native_resnet_opens_as_it_is(tmp_path, pixel_values):
    config = ResNetConfig(**TINY, id2label=dict(enumerate(NAMES)), label2id={n: i for i, n in enumerate(NAMES)})
    native = as_if_trained(ResNetForImageClassification(config))
    native.save_pretrained(tmp_path)
    ConvNextImageProcessor(size={"shortest_edge": 16}, crop_pct=0.8, image_mean=MEAN_STD[0], image_std=MEAN_STD[1],
                           resample=3).save_pretrained(tmp_path)  # fmt: skip
    classifier = open_classifier(str(tmp_path))
    assert type(classifier.model) is ResNetForImageClassification
    assert protocol_of(classifier) == (20, 16, "bicubic")
    assert classifier.label_names == NAMES
    with torch.no_grad():
        assert torch.equal(logits_of(classifier, pixel_values), native(pixel_values).logits)


def test_timm_folder_opens_as_it_is_with_imagenets_names(tmp_path, pixel_values):
    model = timm.create_model("resnet10t", channels=(16, 24, 32, 40)).eval()
    model.pretrained_cfg |= {"crop_pct": 0.8, "test_crop_pct": 0.8, "mean": MEAN_STD[0], "std": MEAN_STD[1]}
    model.pretrained_cfg |= {"input_size": (3, 16, 16), "test_input_size": (3, 16, 16), "interpolation": "bicubic"}
    timm.models.save_for_hf(model, tmp_path, model_args={"channels": (16, 24, 32, 40)})
    classifier = open_classifier(str(tmp_path))
    assert protocol_of(classifier) == (20, 16, "bicubic")
    assert classifier.label_names[0] == "tench, Tinca tinca"
    with torch.no_grad():
        assert torch.equal(logits_of(classifier, pixel_values), model(pixel_values))


def test_timm_name_is_given_to_timm(monkeypatch):
    created = []

    original = timm.create_model

    def create_model(name, pretrained):  # without fetching the weights
        created.append((name, pretrained))
        return original(name, channels=(16, 24, 32, 40))

    monkeypatch.setattr(timm, "create_model", create_model)
    classifier = open_classifier("timm:resnet18.a1_in1k")
    assert created == [("resnet18.a1_in1k", True)]
    assert classifier.preprocessing.resize_size == int(288 / 1.0)  # timm's test size
    assert len(classifier.label_names) == 1000


@pytest.mark.parametrize("num_classes", [1000, 5])
def test_torchvisions_file_has_imagenets_names_if_it_has_1000_classes(tmp_path, num_classes):
    theirs = as_if_trained(torchvision.models.resnet18(num_classes=num_classes))
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    classifier = open_classifier(str(tmp_path / "resnet18.pth"))
    pixel_values = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(logits_of(classifier, pixel_values), theirs(pixel_values), rtol=1e-4, atol=1e-4)
    words = imagenet_words(ImageNetInfo().label_names()) if num_classes == 1000 else [f"LABEL_{i}" for i in range(5)]
    assert classifier.label_names == words


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.onnx", None, "nowhere.onnx: no such file"),
        ("bad.onnx", b"<html>", "bad.onnx is damaged or not an ONNX file"),
        ("bad.pth", b"", "bad.pth is empty"),
        ("nowhere", None, "cannot load the model"),
    ],
)
def test_what_cannot_be_opened_is_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        open_classifier(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_an_onnx_file_from_elsewhere_is_told_what_it_lacks(onnx_folder, tmp_path):
    proto = onnx.load(onnx_folder / "onnx" / "model.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "bare.onnx")
    with pytest.raises(UserError, match="does not say how its images are prepared"):
        open_classifier(str(tmp_path / "bare.onnx"))


@pytest.mark.usefixtures("without_pages")
def test_torch_and_onnx_side_by_side_are_equally_good(network, processor, onnx_folder, tmp_path, capsys):
    """The acceptance of an export: both on the same images, to the same numbers, image by image."""
    for number in range(24):
        write_image(tmp_path / "images" / "val" / NAMES[number % 3] / f"{number}.jpg", seed=number)
    save_model_and_processor(tmp_path / "torch", network, processor)
    arguments = ["--dataset", str(tmp_path / "images"), "--num_workers", "0", "--output", str(tmp_path / "out")]
    main(["evaluate", str(tmp_path / "torch"), str(onnx_folder), *arguments])
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    one, other = results["models"].values()
    for name in ("top1", "top5", "loss"):
        assert one[name] == pytest.approx(other[name], rel=1e-4)
    (comparison,) = results["comparisons"]
    assert comparison["only_first"] == comparison["only_second"] == 0
    assert 0 < one["top1"]["value"] < 1
    assert "right on the same images" in " ".join(capsys.readouterr().out.split())  # wherever the line is broken


@pytest.mark.parametrize("option", [["--torch_compile"], ["--mixed_precision", "bf16"]])
def test_precision_and_compilation_of_an_onnx_file_are_its_own(onnx_folder, capsys, option):
    with pytest.raises(SystemExit):
        main(["evaluate", str(onnx_folder), "--dataset", "digits", *option])
    assert "is an ONNX file, whose precision and compilation are its own" in capsys.readouterr().err
