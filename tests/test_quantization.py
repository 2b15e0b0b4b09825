"""int8 to be trusted: its cost is counted, layers stay in float where that is too much, or nothing is written."""

import json
import shutil
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from shared import as_if_trained
from test_onnx import prepared_digits

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification, ResNet50Model
from modeling_resnet50.commands.quantizing import Quantization, quantize
from modeling_resnet50.commands.typed_options import Loading, Source
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.sampling import class_balanced
from modeling_resnet50.hub.model_folder import image_processor, load_model, save_model_and_processor
from modeling_resnet50.hub.quantization import Int8Quantizer
from resnet50_cli import main


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """
    A model that tells digits apart, with one channel a thousand times as large as the others, which nothing looks at:
    in 256 steps of its range, all other channels are nought.
    """
    torch.manual_seed(0)
    names = [str(digit) for digit in range(10)]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    config = ResNet50Config(depths=[1], hidden_sizes=[128], embedding_size=16, **labels)
    model = as_if_trained(ResNet50ForImageClassification(config))
    with torch.no_grad():
        block = model.layer1[0]
        block.bn2.bias[0] = 3000
        block.conv3.weight[:, 0] = 0
        (train,) = prepared_digits("train", 512)
        trunk = ResNet50Model(config).eval()
        trunk.load_state_dict(model.state_dict(), strict=False)  # without the classifier
        pooled = trunk(train["pixel_values"]).pooler_output.flatten(1)
        inputs = torch.cat([pooled, torch.ones(len(pooled), 1)], dim=1)
        gram = inputs.T @ inputs + 1e-2 * torch.eye(inputs.shape[1])
        solution = torch.linalg.solve(gram, inputs.T @ (10 * torch.eye(10)[train["labels"]] - 5))
        model.fc.weight.copy_(solution[:-1].T)
        model.fc.bias.copy_(solution[-1])
    folder = tmp_path_factory.mktemp("spoilt") / "model"
    save_model_and_processor(
        folder, model, image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", [0.5] * 3, [0.5] * 3))
    )
    return folder


def export(model, out, *arguments):
    common = ["--format", "onnx", "--int8", "--dataset", "digits", "--num_workers", "0", "--json"]
    main(["export", str(model), str(out), *common, *arguments])


def top1(path):
    (unseen,) = prepared_digits("validation", 360)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"pixel_values": unseen["pixel_values"].numpy()})
    return (logits.argmax(1) == unseen["labels"].numpy()).mean()


def test_the_layers_that_cost_most_stay_in_float_until_it_holds(spoilt, tmp_path, capsys):
    export(spoilt, tmp_path / "some", "--max_drop", "2")
    reports = {"some": json.loads(capsys.readouterr().out)["int8"]}
    shutil.copytree(tmp_path / "some", tmp_path / "all")
    loading = Loading(batch_size=64, num_workers=0)
    wanted = Quantization(str(spoilt), Source("digits"), loading, max_drop=100)
    reports["all"] = quantize(*load_model(str(spoilt)), tmp_path / "all", wanted)
    for name in reports:
        quantized = tmp_path / name / "onnx/model_quantized.onnx"
        assert reports[name]["top1"] == pytest.approx(top1(quantized))
        assert reports[name]["top1_float32"] == pytest.approx(top1(quantized.with_name("model.onnx")))
        difference = reports[name]["difference"]
        assert difference["value"] == pytest.approx(reports[name]["top1"] - reports[name]["top1_float32"])
        assert difference["low"] <= difference["value"] <= difference["high"]
    assert reports["all"]["in_float"] == []
    assert reports["all"]["difference"]["value"] < -0.05
    assert reports["all"]["p_value"] < 0.01
    assert reports["some"]["difference"]["value"] >= -0.02
    assert 1 <= len(reports["some"]["in_float"]) <= reports["some"]["layers"] // 2
    quantized = tmp_path / "some/onnx/model_quantized.onnx"
    kernels = [t for t in onnx.load(quantized).graph.initializer if len(t.dims) == 4]
    kinds = {onnx.TensorProto.DataType.Name(t.data_type) for t in kernels}
    assert kinds == {"INT8", "FLOAT"}
    said = {e.key: e.value for e in onnx.load(quantized).metadata_props}["quantization"]
    assert said.endswith(f"{len(reports['some']['in_float'])} of {reports['some']['layers']} layers in float")


def test_nothing_is_written_if_it_costs_more_with_half_of_the_layers_in_float(spoilt, tmp_path, capsys, monkeypatch):
    errors = Int8Quantizer.errors
    monkeypatch.setattr(Int8Quantizer, "errors", lambda *given: dict(reversed(errors(*given).items())))
    with pytest.raises(SystemExit) as exit_:
        export(spoilt, tmp_path / "out")
    assert exit_.value.code == 2
    assert "layers left in float, and --max_drop is 1: nothing is written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_calibration_has_as_many_images_of_each_class_as_can_be():
    labels = np.repeat([0, 1, 2, 5], [100, 7, 3, 50])
    chosen = class_balanced(labels, 40, seed=0)
    assert len(set(chosen.tolist())) == 40
    assert np.bincount(labels[chosen]).tolist() == [15, 7, 3, 0, 0, 15]
    assert sorted(class_balanced(labels, 500, seed=0)) == list(range(160))
    assert class_balanced(labels, 40, seed=0).tolist() == chosen.tolist()
    assert class_balanced(labels, 40, seed=1).tolist() != chosen.tolist()


def test_multi_label_models_have_no_top1_to_lose(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # without which nothing is exported before it is said
    config = ResNet50Config(
        depths=[1, 1], hidden_sizes=[8, 16], embedding_size=8, num_labels=10,
        problem_type="multi_label_classification",
    )  # fmt: skip
    model = ResNet50ForImageClassification(config)
    save_model_and_processor(
        tmp_path / "model", model, image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", [0.5] * 3, [0.5] * 3))
    )
    with pytest.raises(SystemExit) as exit_:
        export(tmp_path / "model", tmp_path / "out")
    assert exit_.value.code == 2
    assert "is a multi-label model" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
