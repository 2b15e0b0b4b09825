"""ONNX files: the same logits in ONNX Runtime, laid out and described as other tools expect."""

import json
import re
import sys
from functools import cache
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from shared import as_if_trained
from transformers import AutoConfig, AutoImageProcessor

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification, ResNet50Model
from modeling_resnet50.data.loader import DeviceLoader, ImageBatches
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.sources import load_evaluation_split
from modeling_resnet50.data.transforms import EvaluationTransform
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.hub.onnx import OPSET, export_onnx
from modeling_resnet50.hub.quantization import Int8Quantizer, predict_onnx
from resnet50_cli import main


SMALL = {"depths": [1], "hidden_sizes": [16], "embedding_size": 8}  # each block is traced again, for each file


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The export of a small model of ten classes in all three precisions, and the model."""
    torch.manual_seed(0)
    names = [str(digit) for digit in range(10)]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**SMALL, **labels)))
    root = tmp_path_factory.mktemp("onnx")
    processor = image_processor(
        Preprocessing.by_ratio(32, 1.0, "bilinear", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    save_model_and_processor(root / "model", model, processor)
    arguments = ["--format", "onnx", "--fp16", "--int8", "--dataset", "digits", "--num_workers", "0"]
    arguments += ["--max_drop", "100"]  # of a network that knows nothing
    main(["export", str(root / "model"), str(root / "out"), *arguments])
    return root / "out", model


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A model that tells digits apart, its float32 and int8 files, and images it has not seen with their labels."""
    torch.manual_seed(0)
    config = ResNet50Config(depths=[1], hidden_sizes=[256], embedding_size=32, num_labels=10)
    model = as_if_trained(ResNet50ForImageClassification(config))
    processor = image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", [0.5] * 3, [0.5] * 3))
    (train,), (unseen,) = prepared_digits("train", 512), prepared_digits("validation", 360)
    with torch.no_grad():  # a classifier fitted in one step to the features that a random network gives
        trunk = ResNet50Model(config).eval()
        trunk.load_state_dict(model.state_dict(), strict=False)  # without the classifier
        pooled = trunk(train["pixel_values"]).pooler_output.flatten(1)
        inputs = torch.cat([pooled, torch.ones(len(pooled), 1)], dim=1)
        targets = 10 * torch.eye(10)[train["labels"]] - 5
        gram = inputs.T @ inputs + 1e-2 * torch.eye(inputs.shape[1])
        solution = torch.linalg.solve(gram, inputs.T @ targets)
        model.fc.weight.copy_(solution[:-1].T)
        model.fc.bias.copy_(solution[-1])
    folder = tmp_path_factory.mktemp("digits")
    export_onnx(model, processor, folder)
    quantizer = Int8Quantizer(folder / "onnx/model.onnx", train["pixel_values"].numpy().reshape(8, 64, 3, 32, 32))
    quantizer.write(folder / "onnx/model_quantized.onnx")
    return folder / "onnx", unseen


@cache
def prepared_digits(split, count):
    """The first `count` images of a split as one batch, by the package's own data path."""
    batches = ImageBatches(
        load_evaluation_split("digits", split), EvaluationTransform(Preprocessing(32, 32, "bilinear"))
    )
    return list(DeviceLoader(batches, [[(0, i) for i in range(count)]], torch.device("cpu"), [0.5] * 3, [0.5] * 3))


def run(path, pixel_values):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"pixel_values": pixel_values.numpy()})[0])


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (5, 3, 32, 32), (2, 3, 96, 64)])
def test_float32_file_gives_the_same_logits_at_any_batch_and_size(written, shape):
    folder, model = written
    pixel_values = torch.randn(shape)
    with torch.no_grad():
        expected = model(pixel_values).logits
    torch.testing.assert_close(run(folder / "onnx/model.onnx", pixel_values), expected, rtol=1e-5, atol=1e-5)


def test_float16_file_takes_and_gives_float32_and_is_near(written):
    folder, model = written
    pixel_values = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = model(pixel_values).logits
    logits = run(folder / "onnx/model_fp16.onnx", pixel_values)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, rtol=1e-2, atol=1e-2)
    assert not torch.equal(logits, expected)
    stored = {tensor.data_type for tensor in onnx.load(folder / "onnx/model_fp16.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT not in stored


def test_int8_file_holds_int8_weights_and_orders_classes_much_as_float32(written):
    folder, model = written
    pixel_values = torch.randn(64, 3, 32, 32)
    with torch.no_grad():
        expected = model(pixel_values).logits
    quantized = run(folder / "onnx/model_quantized.onnx", pixel_values)
    correlation = np.corrcoef(expected.flatten().numpy(), quantized.flatten().numpy())[0, 1]
    assert correlation > 0.95
    tensors = {t.name: t for t in onnx.load(folder / "onnx/model_quantized.onnx").graph.initializer}
    kernels = [t for t in tensors.values() if len(t.dims) == 4]
    assert kernels
    assert {t.data_type for t in kernels} == {onnx.TensorProto.INT8}


def test_int8_decides_as_float32_on_nearly_all_unseen_digits_and_is_much_smaller(digits):
    folder, unseen = digits
    float32, int8 = folder / "model.onnx", folder / "model_quantized.onnx"
    decisions = [run(path, unseen["pixel_values"]).argmax(1) for path in (float32, int8)]
    assert (decisions[0] == decisions[1]).float().mean() >= 0.9
    before, after = (top1(path, unseen) for path in (float32, int8))
    assert before >= 0.8
    assert after >= before - 0.02
    assert int8.stat().st_size < 0.4 * float32.stat().st_size


def top1(path, unseen):
    pixel_values, labels = unseen["pixel_values"].numpy(), unseen["labels"].numpy()
    parts = [(pixel_values[part], labels[part]) for part in (slice(100), slice(100, None))]
    logits, found = predict_onnx(path, parts)
    assert (found == labels).all()
    return (logits.argmax(1) == labels).mean()


def test_int8_says_what_it_cost_on_real_images(written):
    folder, _ = written
    said = {e.key: e.value for e in onnx.load(folder / "onnx/model_quantized.onnx").metadata_props}["quantization"]
    assert said.startswith("int8: top-1 ")
    assert re.search(r"points \(.* to .*, p = .*\) on 360 images of digits, calibrated on 512 of 10 classes$", said)


@pytest.mark.parametrize("name", ["model.onnx", "model_fp16.onnx", "model_quantized.onnx"])
def test_each_file_is_checked_complete_and_describes_itself(written, name):
    folder, _ = written
    onnx.checker.check_model(folder / "onnx" / name, full_check=True)
    proto = onnx.load(folder / "onnx" / name, load_external_data=False)
    assert not any(t.data_location == onnx.TensorProto.EXTERNAL for t in proto.graph.initializer)
    assert next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")) == OPSET
    described = {entry.key: entry.value for entry in proto.metadata_props}
    assert described["producer"] == f"modeling-resnet50 {version('modeling-resnet50')}"
    assert json.loads(described["id2label"])["7"] == "7"
    assert json.loads(described["preprocessing"]) == {
        "resize_short_side": 32,
        "crop_size": 32,
        "crop_mode": "center",
        "interpolation": "bilinear",
        "rescale_factor": 1 / 255,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "exif_orientation": "apply",
    }


def test_folder_is_laid_out_for_transformers_js_and_optimum(written):
    folder, _ = written
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "config.json",
        "onnx/model.onnx",
        "onnx/model_fp16.onnx",
        "onnx/model_quantized.onnx",
        "preprocessor_config.json",
    ]
    config = AutoConfig.from_pretrained(folder)
    assert config.model_type == "resnet"  # known to both without our code
    assert config.id2label[3] == "3"
    assert AutoImageProcessor.from_pretrained(folder).crop_size["height"] == 32


def test_int8_without_images_to_measure_on_is_refused_and_leaves_nothing(written, tmp_path, capsys):
    folder, _ = written
    with pytest.raises(SystemExit) as exit_:
        main(["export", str(folder.parent / "model"), str(tmp_path / "out"), "--format", "onnx", "--int8"])
    assert exit_.value.code == 2
    assert "--int8 needs --dataset" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named_with_the_extra_that_brings_them(written, tmp_path, capsys, monkeypatch):
    folder, _ = written
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(SystemExit):
        main(["export", str(folder.parent / "model"), str(tmp_path / "out"), "--format", "onnx"])
    assert "(onnxscript): pip install 'modeling-resnet50[onnx]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
