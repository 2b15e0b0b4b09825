"""A config.json that asks for sizes which the weights do not have is refused before anything of that size is built."""

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from shared import TINY
from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub import model_folder
from modeling_resnet50.hub.classifiers import open_classifier
from modeling_resnet50.hub.importing import import_model
from modeling_resnet50.hub.model_folder import image_processor, load_model, save_model_and_processor
from modeling_resnet50.hub.pickles import unpickle
from modeling_resnet50.hub.shapes import read_shapes
from resnet50_recipe.errors import UserError


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "model"
    processor = image_processor(Preprocessing.by_ratio(16, 1.0, "bilinear", [0.5] * 3, [0.5] * 3))
    save_model_and_processor(folder, ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3)), processor)
    return folder


def changed(folder, tmp_path, changes):
    shutil.copytree(folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    names = [name for name in ("id2label", "label2id") if name in config]  # they would say how many there are
    config = {name: value for name, value in config.items() if name not in names}
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, **changes}))
    return str(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_labels": 300_000_000}, "num_labels is 300,000,000, and they have 16 rows at most"),
        ({"num_labels": 5}, r"fc.weight would have the shape \(5, 16\), and has \(3, 16\)"),
        ({"depths": [10**9, 1]}, "depths is 1,000,000,000, and they have 50 tensors"),
        ({"depths": [30, 30]}, "depths is 60, and they have 50 tensors"),
        ({"hidden_sizes": [10**12, 16]}, r"hidden_sizes is 1,000,000,000,000, and they have [\d,]+ numbers in all"),
        (
            {"num_labels": 3, "hidden_sizes": [4096, 16]},
            r"layer1.0.conv1.weight would have the shape \(1024, 8, 1, 1\)",
        ),
        ({"num_labels": 3, "embedding_size": 9}, r"conv1.weight would have the shape \(9, 3, 7, 7\)"),
        ({"id2label": dict.fromkeys(range(1000), "x")}, r"fc\.weight would have the shape \(1000, 16\)"),
        (
            {"id2label": dict.fromkeys(range(100_000), "x")},
            r"len\(id2label\) is 100,000, and they have 16 rows at most",
        ),
        ({"id2label": []}, r"no model can be built of its config.json: id2label must be like .*got \[\]"),
        ({"num_labels": 3, "dtype": "float99"}, "no attribute 'float99'"),
        ({"depths": [-1, 1]}, "no model can be built of its config.json: .*needs at least one block"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_absurd_sizes_are_refused_before_anything_is_built(changes, message, ours, tmp_path, monkeypatch):
    def built(*_, **__):
        raise AssertionError("was built")

    monkeypatch.setattr(model_folder.AutoModelForImageClassification, "from_pretrained", built)
    with pytest.raises(UserError, match=message):
        load_model(changed(ours, tmp_path, changes))


def test_a_model_whose_sizes_are_its_own_is_opened(ours, tmp_path):
    assert load_model(changed(ours, tmp_path, {"num_labels": 3}))[0].config.num_labels == 3


def test_so_are_those_of_transformers(tmp_path):
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "theirs")
    ConvNextImageProcessor(size={"shortest_edge": 16}).save_pretrained(tmp_path / "theirs")
    source = changed(tmp_path / "theirs", tmp_path, {"num_labels": 300_000_000})
    for open_it in (open_classifier, import_model):
        with pytest.raises(UserError, match="num_labels is 300,000,000, and they have 16 rows at most"):
            open_it(source)


def test_so_are_those_of_timm(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=3)
    timm.models.save_for_hf(model, tmp_path / "theirs", model_config={"num_classes": 3}, safe_serialization=True)
    source = changed(tmp_path / "theirs", tmp_path, {"num_classes": 300_000_000})
    with pytest.raises(UserError, match="num_classes is 300,000,000, and they have 512 rows at most"):
        open_classifier(source)


@pytest.mark.parametrize("kind", ["one pickle", "several pickles", "several files of safetensors"])
def test_so_are_those_beside_weights_in_other_files(kind, ours, tmp_path):
    source = Path(changed(ours, tmp_path, {"num_labels": 300_000_000}))
    state = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    pickled = "pickle" in kind
    name, write = ("pytorch_model", torch.save) if pickled else ("model", save_file)
    suffix = "bin" if pickled else "safetensors"
    if kind == "one pickle":
        write(state, source / f"{name}.{suffix}")
    else:
        parts = {f"{name}-0000{number}-of-00002.{suffix}": list(state)[number - 1 :: 2] for number in (1, 2)}
        for part, keys in parts.items():
            write({key: state[key] for key in keys}, source / part)
        index = {"metadata": {}, "weight_map": {key: part for part, keys in parts.items() for key in keys}}
        (source / f"{name}.{suffix}.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="num_labels is 300,000,000, and they have 16 rows at most"):
        load_model(str(source))


def test_of_a_pickle_no_number_is_read_and_code_is_refused(ours, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    state = load_file(ours / "model.safetensors")
    torch.save(state, path)
    assert read_shapes(path) == read_shapes(ours / "model.safetensors")
    assert {tensor.device.type for tensor in unpickle(path, "meta").values()} == {"meta"}
    torch.save({"a": print}, path)
    with pytest.raises(UserError, match="holds more than weights"):
        read_shapes(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": {"shortest_edge": 10**9}}, "resize_size must be a whole number of pixels from 1 to 16,384"),
        ({"crop_size": {"height": 40_000, "width": 40_000}}, "image_size must be a whole number .* got 40000"),
        ({"crop_size": {"height": 0, "width": 0}}, "image_size must be a whole number .* got 0"),
        ({"size": {"shortest_edge": -5}}, "got -5"),
        ({"size": {"shortest_edge": "a"}}, "got 'a'"),
        ({"image_std": [0, 0, 0]}, "image_std must be above 0"),
        ({"image_std": [0.5, "x", 0.5]}, "image_std must be finite numbers"),
        ({"image_mean": [float("nan")] * 3}, "image_mean must be finite numbers"),
    ],
    ids=str,
)
def test_a_processor_that_makes_no_sense_is_refused_before_an_image_is_prepared(changes, message, ours, tmp_path):
    shutil.copytree(ours, tmp_path / "model")
    path = tmp_path / "model" / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UserError, match=f"its image processor makes no sense: .*{message}"):
        open_classifier(str(tmp_path / "model"))
