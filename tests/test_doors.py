"""One folder, opened by every library its users have: the same logits everywhere."""

import math
import os

import datasets
import evaluate
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from hub_server import HubServer
from PIL import Image
from shared import as_if_trained, run_python
from sklearn.datasets import load_sample_images
from timm.data import create_transform, resolve_model_data_config
from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    BitImageProcessor,
    ResNetBackbone,
    ResNetConfig,
    pipeline,
)

from modeling_resnet50 import ResNet50Backbone, ResNet50Config, ResNet50ForImageClassification, ResNet50Model
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.evaluation import TopKAccuracy
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.hub.weights import to_transformers_resnet


MEAN, STD = [0.48, 0.45, 0.40], [0.22, 0.23, 0.24]  # not the defaults of anybody


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The full ResNet-50 with 5 named classes, and the logits it gives for two photographs."""
    torch.manual_seed(0)
    names = ["ant", "bee", "cat", "dog", "eel"]
    config = ResNet50Config(id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    model = as_if_trained(ResNet50ForImageClassification(config))
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model_and_processor(folder, model, image_processor(Preprocessing.by_ratio(160, 0.9, "bicubic", MEAN, STD)))
    return folder, model


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder of a small one that timm has too, and what it gives for some pixels, in a file."""
    torch.manual_seed(0)
    names = ["ant", "bee", "cat", "dog", "eel"]
    labels = {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    config = ResNet50Config(layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[8, 12, 16, 24], **labels)
    model = as_if_trained(ResNet50ForImageClassification(config))
    root = tmp_path_factory.mktemp("small")
    save_model_and_processor(
        root / "model", model, image_processor(Preprocessing.by_ratio(160, 0.9, "bicubic", MEAN, STD))
    )
    pixel_values = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.save((pixel_values, model(pixel_values).logits), root / "reference.pt")
    return root / "model", root / "reference.pt"


@pytest.fixture(scope="module")
def photographs():
    """scikit-learn's two real ones, 640 × 427 pixels."""
    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


@pytest.fixture(scope="module")
def reference(saved, photographs):
    folder, model = saved
    pixel_values = AutoImageProcessor.from_pretrained(folder)(photographs, return_tensors="pt").pixel_values
    with torch.no_grad():
        return pixel_values, model(pixel_values).logits


def test_transformers_auto_classes(saved, reference):
    folder, model = saved
    pixel_values, logits = reference
    assert isinstance(AutoConfig.from_pretrained(folder), ResNet50Config)
    assert isinstance(AutoImageProcessor.from_pretrained(folder), BitImageProcessor)
    with torch.no_grad():
        again = AutoModelForImageClassification.from_pretrained(folder).eval()
        assert torch.equal(again(pixel_values).logits, logits)
        base = AutoModel.from_pretrained(folder).eval()
        assert isinstance(base, ResNet50Model)
        assert torch.equal(model.fc(base(pixel_values).pooler_output.flatten(1)), logits)


def test_backbone_gives_the_feature_maps_of_transformers_own(saved, reference):
    folder, model = saved
    pixel_values, _ = reference
    wanted = {"out_features": ["stem", "stage2", "stage4"]}
    native = ResNetBackbone(ResNetConfig(**wanted)).eval()
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("fc.")}
    native.load_state_dict({n.removeprefix("resnet."): v for n, v in to_transformers_resnet(state).items()})
    for asked in (wanted, {"out_indices": [0, 2, 4]}):
        backbone = ResNet50Backbone.from_pretrained(folder, **asked).eval()
        assert backbone.channels == native.channels == [64, 512, 2048]
        with torch.no_grad():
            ours, theirs = backbone(pixel_values), native(pixel_values)
        assert [m.shape for m in ours.feature_maps] == [m.shape for m in theirs.feature_maps]
        for one, other in zip(ours.feature_maps, theirs.feature_maps):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert len(ResNet50Backbone.from_pretrained(folder)(pixel_values).feature_maps) == 1
    assert isinstance(AutoBackbone.from_config(backbone.config), ResNet50Backbone)


def test_pipelines(saved, photographs, reference):
    folder, model = saved
    _, logits = reference
    classified = pipeline("image-classification", model=str(folder))(photographs, top_k=5)
    for result, row in zip(classified, logits.softmax(-1)):
        scores = {answer["label"]: answer["score"] for answer in result}
        assert scores == pytest.approx({name: row[i].item() for i, name in model.config.id2label.items()}, abs=1e-6)
    extract = pipeline("image-feature-extraction", model=str(folder), pool=True)
    features = torch.tensor(extract(photographs[0])).flatten()
    torch.testing.assert_close(model.fc(features), logits[0], rtol=1e-5, atol=1e-5)


def test_evaluates_evaluator_judges_the_folder(saved, photographs, reference):
    folder, model = saved
    _, logits = reference
    truth = [logits[0].argmax().item(), (logits[1].argmax().item() + 1) % 5]  # one hit, one miss
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(model.config.label2id))}
    )
    data = datasets.Dataset.from_dict({"image": photographs, "label": truth}, features=features)
    result = evaluate.evaluator("image-classification").compute(
        model_or_pipeline=str(folder), data=data, metric=TopKAccuracy(), label_mapping=model.config.label2id
    )
    assert result["top1"] == 0.5
    assert "top5" not in result  # it gives the metric one class an image


def test_timm_builds_it_from_the_folder_alone(saved, reference):
    folder, _ = saved
    pixel_values, logits = reference
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(model(pixel_values), logits)
    features = timm.create_model(f"local-dir:{folder}", pretrained=True, features_only=True).eval()
    with torch.no_grad():
        assert [f.shape[1] for f in features(pixel_values)] == [64, 256, 512, 1024, 2048]
    assert features.feature_info.reduction() == [2, 4, 8, 16, 32]


def test_timm_prepares_images_as_the_processor_does(saved, photographs, reference):
    folder, _ = saved
    pixel_values, _ = reference
    data = resolve_model_data_config(timm.create_model(f"local-dir:{folder}", pretrained=True))
    assert (list(data["mean"]), list(data["std"])) == (MEAN, STD)
    assert (list(data["input_size"]), data["interpolation"]) == ([3, 160, 160], "bicubic")
    transform = create_transform(**data)
    assert "Resize(size=177" in str(transform)
    for photograph, expected in zip(photographs, pixel_values):
        # resized by PIL there and by torchvision here: one grey level is 0.018 after normalisation
        difference = (transform(photograph) - expected).abs()
        assert difference.mean() < 0.01
        assert difference.max() < 0.1


@pytest.mark.parametrize("size", [32, 160, 176, 224, 288])
def test_timm_resizes_to_the_very_pixel_the_processor_does(size):
    for resize_size in range(size, 3 * size):
        processor = BitImageProcessor(
            size={"shortest_edge": resize_size}, crop_size={"height": size, "width": size}, resample=2
        )
        crop_pct = Preprocessing.from_processor(processor, "it").for_timm()["crop_pct"]
        assert math.floor(size / crop_pct) == resize_size  # timm's rule


def test_torchvision_loads_the_file_itself(saved, reference):
    folder, _ = saved
    pixel_values, logits = reference
    model = torchvision.models.resnet50(num_classes=5)
    model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    with torch.no_grad():
        assert torch.equal(model.eval()(pixel_values), logits)


def test_timms_keys_follow_a_change_of_classes(saved, tmp_path):
    folder, _ = saved
    tuned = AutoModelForImageClassification.from_pretrained(folder, num_labels=37, ignore_mismatched_sizes=True)
    tuned.save_pretrained(tmp_path)
    assert timm.create_model(f"local-dir:{tmp_path}", pretrained=True).num_classes == 37
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.num_labels == 37
    assert config.pretrained_cfg["mean"] == MEAN  # the images stay prepared as before
    for opened in (tuned.config, config):  # no second truth, which would go stale, as an attribute
        assert not {"num_classes", "architecture", "model_args"} & vars(opened).keys()


def test_every_door_of_transformers_in_a_process_that_never_imported_the_package(small, tmp_path):
    folder, reference = small
    program = f"""
import sys, torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification, pipeline
from transformers.dynamic_module_utils import get_class_from_dynamic_module
folder, trust = {str(folder)!r}, dict(trust_remote_code=True)
pixel_values, logits = torch.load({str(reference)!r})
with torch.no_grad():
    model = AutoModelForImageClassification.from_pretrained(folder, **trust).eval()
    assert torch.equal(model(pixel_values).logits, logits)
    base = AutoModel.from_pretrained(folder, **trust).eval()
    assert torch.equal(model.fc(base(pixel_values).pooler_output.flatten(1)), logits)
    # `AutoBackbone.from_pretrained` takes ids of the Hub only, of whatever model
    backbone = get_class_from_dynamic_module("modeling_resnet50.ResNet50Backbone", folder)
    backbone = backbone.from_pretrained(folder, out_indices=[1, 2, 3, 4]).eval()
    assert [m.shape[1] for m in backbone(pixel_values).feature_maps] == [8, 12, 16, 24]
assert AutoConfig.from_pretrained(folder, **trust).id2label[4] == "eel"
assert AutoImageProcessor.from_pretrained(folder).crop_size["height"] == 160
assert pipeline("image-classification", model=folder, **trust).model.config.num_labels == 5
assert "modeling_resnet50" not in sys.modules
print("opened")
"""
    result = run_python(["-P", "-c", program], fresh=True, HF_HOME=str(tmp_path / "hf"), PYTHONPATH=os.devnull)
    assert result.stdout.strip() == "opened", result.stderr


def test_every_door_by_the_hubs_id_online_and_then_offline_from_the_cache(small, tmp_path):
    folder, reference = small
    program = f"""
import os, sys, timm, torch
from transformers import (AutoBackbone, AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification,
                          pipeline)
repo, trust = "someone/resnet50", dict(trust_remote_code=True)
pixel_values, logits = torch.load({str(reference)!r})
with torch.no_grad():
    model = AutoModelForImageClassification.from_pretrained(repo, **trust).eval()
    assert torch.equal(model(pixel_values).logits, logits)
    base = AutoModel.from_pretrained(repo, **trust).eval()
    assert torch.equal(model.fc(base(pixel_values).pooler_output.flatten(1)), logits)
    if os.environ["HF_HUB_OFFLINE"] == "0":  # AutoBackbone asks the Hub whether the repository exists
        backbone = AutoBackbone.from_pretrained(repo, out_indices=[1, 2, 3, 4], **trust).eval()
        assert type(backbone).__name__ == "ResNet50Backbone"
        assert [m.shape[1] for m in backbone(pixel_values).feature_maps] == [8, 12, 16, 24]
    assert torch.equal(timm.create_model("hf-hub:" + repo, pretrained=True).eval()(pixel_values), logits)
assert AutoConfig.from_pretrained(repo, **trust).id2label[4] == "eel"
assert AutoImageProcessor.from_pretrained(repo).crop_size["height"] == 160
assert pipeline("image-classification", model=repo, **trust).model.config.num_labels == 5
assert "modeling_resnet50" not in sys.modules
print("opened")
"""
    with HubServer() as hub:
        hub.add_folder("someone/resnet50", folder)
        environment = {**hub.environment(tmp_path / "hf"), "PYTHONPATH": os.devnull}
        online = run_python(["-P", "-c", program], **environment)
    assert online.stdout.strip() == "opened", online.stderr
    offline = run_python(["-P", "-c", program], **{**environment, "HF_HUB_OFFLINE": "1"})
    assert offline.stdout.strip() == "opened", offline.stderr
