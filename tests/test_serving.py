"""Servers for strangers' pictures: the same answers, and limits on what is opened."""

import base64
import importlib.util
import io
import json
import re
import shutil
import subprocess
import zlib
from contextlib import nullcontext

import numpy as np
import onnx
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from shared import PROJECT, as_if_trained, with_spread_logits, write_image
from test_bad_images import JPEG

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.decoding import decode_image, with_orientation
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.transforms import EvaluationTransform, normalize_by
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_cli import main


EXAMPLES = PROJECT / "examples"
NAMES = ["ant", "bee", "cat", "dog", "elk", "fox"]
MEAN_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A model of six classes at 224 pixels, its folder and its export with preprocessing."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("served")
    labels = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
    config = ResNet50Config(depths=[1], hidden_sizes=[16], embedding_size=8, **labels)
    model = as_if_trained(ResNet50ForImageClassification(config))
    for number, size in enumerate([(300, 200), (250, 400), (224, 224)]):
        write_image(root / f"{number}.jpg", seed=number, size=size)
    prepared = torch.stack([prepared_photo(root / f"{number}.jpg") for number in range(3)])
    model = with_spread_logits(model, prepared)
    save_model_and_processor(
        root / "model", model, image_processor(Preprocessing.by_ratio(224, 0.875, "bilinear", *MEAN_STD))
    )
    main(["export", str(root / "model"), str(root / "onnx"), "--format", "onnx", "--with_preprocessing"])
    return root, model


def prepared_photo(path):
    preprocessing = Preprocessing(256, 224, "bilinear", *MEAN_STD)
    return normalize_by(preprocessing, EvaluationTransform(preprocessing)(decode_image(path.read_bytes())))


@torch.no_grad()
def expected(model, path):
    scores, labels = model(prepared_photo(path)[None]).logits[0].softmax(-1).sort(descending=True)
    return [(NAMES[label], pytest.approx(score, abs=5e-3)) for label, score in zip(labels.tolist(), scores.tolist())]


def pairs(answers):
    return [(answer["label"], answer["score"]) for answer in answers]


def module_of(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# FastAPI


@pytest.fixture
def service(served, monkeypatch):
    root, _ = served
    monkeypatch.setenv("MODEL", str(root / "onnx"))
    module = module_of(EXAMPLES / "serve.py", "serve")
    return module, TestClient(module.app)


def photos(*contents):
    return [("photos", (f"{number}.jpg", content, "image/jpeg")) for number, content in enumerate(contents)]


def test_the_service_answers_about_photos_of_several_sizes_in_one_batch(served, service):
    root, model = served
    _, client = service
    paths = [root / f"{number}.jpg" for number in range(3)]
    response = client.post("/classify", files=photos(*(path.read_bytes() for path in paths)))
    assert response.status_code == 200
    for path, answers in zip(paths, response.json()):
        assert pairs(answers) == expected(model, path)[:5]


@pytest.fixture(scope="module")
def deep(served):
    """The first photo, grey, as a PNG of 16 bits, and of 8."""
    root, _ = served
    grey = np.asarray(Image.open(root / "0.jpg").convert("L"))
    Image.fromarray(grey).save(root / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(root / "16.png")
    return root / "16.png", root / "8.png"


def test_the_service_takes_grey_of_16_bits_as_of_8(deep, service):
    _, client = service
    of_16, of_8 = client.post("/classify", files=photos(*(path.read_bytes() for path in deep))).json()
    assert of_16 == of_8


def export_of(folder, num_channels=3, **settings):
    """A small model of images with so many channels, prepared so: its folder, and beside it the export."""
    torch.manual_seed(0)
    config = ResNet50Config(depths=[1], hidden_sizes=[16], embedding_size=8, num_channels=num_channels, num_labels=3)
    preprocessing = Preprocessing(32, 32, "bilinear", *([value] * num_channels for value in (0.7, 0.1)), **settings)
    folder.mkdir()
    save_model_and_processor(
        folder, as_if_trained(ResNet50ForImageClassification(config)), image_processor(preprocessing)
    )
    return folder


def predicted(model, photo, capsys) -> list[tuple]:
    capsys.readouterr()
    main(["predict", str(model), str(photo), "--topk", "3", "--json"])
    answers = json.loads(capsys.readouterr().out)["predictions"]
    return [(answer["label"], pytest.approx(answer["score"], abs=5e-3)) for answer in answers]


@pytest.mark.parametrize(
    "settings",
    [{"num_channels": 1, "exif_orientation": "apply"}, {"num_channels": 4, "exif_orientation": "ignore"}],
    ids=str,
)
def test_the_service_prepares_as_the_model_was_judged(settings, tmp_path, monkeypatch, capsys):
    """In its own channels, and turned or not: as `resnet50 predict` does."""
    model = export_of(tmp_path / "model", **settings)
    main(["export", str(model), str(tmp_path / "onnx"), "--format", "onnx", "--with_preprocessing"])
    monkeypatch.setenv("MODEL", str(tmp_path / "onnx"))
    client = TestClient(module_of(EXAMPLES / "serve.py", "serve").app)
    colours = np.random.default_rng(0).integers(0, 256, (6, 9, 4), np.uint8)
    picture = Image.fromarray(colours).resize((60, 40), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "photo.png", exif=with_orientation(6))
    response = client.post("/classify", files=photos((tmp_path / "photo.png").read_bytes()))
    assert pairs(response.json()[0]) == predicted(model, tmp_path / "photo.png", capsys)


@pytest.mark.parametrize("size", [(60, 41), (40, 61), (32, 32), (90, 1)])
@pytest.mark.parametrize("resize_size", [32, 37])
def test_the_handler_pads_with_the_mean_colour_as_we_do(resize_size, size, tmp_path, capsys):
    """Where transformers pads with black."""
    model = export_of(tmp_path / "model", crop_mode="pad")
    processor = image_processor(Preprocessing(resize_size, 32, "bilinear", [0.7] * 3, [0.1] * 3, crop_mode="pad"))
    processor.save_pretrained(model)
    write_image(tmp_path / "photo.png", 0, size)
    handler = module_of(EXAMPLES / "inference_endpoint/handler.py", "handler").EndpointHandler(str(model))
    answers = handler({"inputs": Image.open(tmp_path / "photo.png")})
    assert pairs(answers) == predicted(model, tmp_path / "photo.png", capsys)


@pytest.fixture(scope="module")
def hesitant(tmp_path_factory):
    """A model that never reaches its threshold, and its export."""
    root = tmp_path_factory.mktemp("hesitant")
    configure(export_of(root / "model"), confidence_threshold={"threshold": 1.0})
    main(["export", str(root / "model"), str(root / "onnx"), "--format", "onnx", "--with_preprocessing"])
    return root


def configure(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("problem_type", [None, "multi_label_classification"])
@pytest.mark.parametrize("threshold", [None, 1.0])
def test_servers_answer_none_below_the_models_own_threshold_as_predict_does(
    threshold, problem_type, hesitant, tmp_path, monkeypatch, capsys
):
    shutil.copytree(hesitant, tmp_path, dirs_exist_ok=True)
    network = onnx.load(tmp_path / "onnx/onnx/model.onnx")
    said = {entry.key: entry.value for entry in network.metadata_props}
    if problem_type is not None:
        said["problem_type"] = problem_type
    if threshold is None:
        configure(tmp_path / "model", confidence_threshold=None)
        del said["confidence_threshold"]
    configure(tmp_path / "model", problem_type=problem_type)
    onnx.helper.set_model_props(network, said)
    onnx.save(network, tmp_path / "onnx/onnx/model.onnx")
    write_image(tmp_path / "photo.png", 0, (32, 32))
    data = (tmp_path / "photo.png").read_bytes()
    monkeypatch.setenv("MODEL", str(tmp_path / "onnx"))
    client = TestClient(module_of(EXAMPLES / "serve.py", "serve").app)
    handler = module_of(EXAMPLES / "inference_endpoint/handler.py", "handler").EndpointHandler(str(tmp_path / "model"))
    expected = predicted(tmp_path / "model", tmp_path / "photo.png", capsys)
    for answers in (client.post("/classify", files=photos(data)).json()[0], handler({"inputs": data})):
        if threshold is not None:
            none = answers.pop(0)
            assert none == {"label": "none", "score": 1 - answers[0]["score"], "threshold": threshold}
        assert pairs(answers) == expected


def png(*size: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size).save(data, "PNG")
    return data.getvalue()


def test_strips_whose_preparation_would_take_gigabytes_are_refused(service, handler):
    _, client = service
    for size, refused in (((2, 201), True), ((201, 2), True), ((2, 200), False)):
        response = client.post("/classify", files=photos(png(*size)))
        assert response.status_code == (413 if refused else 200)
        with pytest.raises(ValueError, match="more than 100 times as long as wide") if refused else nullcontext():
            assert handler({"inputs": png(*size)})


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it has 900 million pixels."""
    data = io.BytesIO()
    Image.new("L", (1, 1)).save(data, "PNG")
    header = bytearray(data.getvalue())
    header[16:24] = (30_000).to_bytes(4) * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4)
    return bytes(header)


def test_the_service_refuses_what_is_large_many_or_no_picture(service):
    module, client = service
    assert client.post("/classify", files=photos(b"no picture")).status_code == 415
    assert client.post("/classify", files=photos(b"%!PS-Adobe-3.0 EPSF-3.0")).status_code == 415
    assert client.post("/classify", files=photos(bomb())).status_code in (413, 415)
    assert client.post("/classify", files=photos(b"x" * (module.MAX_BYTES + 1))).status_code == 413
    assert client.post("/classify", files=photos(*[b""] * (module.MAX_PHOTOS + 1))).status_code == 413
    assert client.post("/classify", content=iter([b"of unknown length"])).status_code == 413
    assert client.post("/classify").status_code == 422


def test_a_picture_of_too_many_pixels_is_not_decoded(service, monkeypatch):
    module, client = service
    data = io.BytesIO()
    Image.new("RGB", (100, 90)).save(data, "JPEG")
    monkeypatch.setattr(module, "MAX_PIXELS", 8999)
    response = client.post("/classify", files=photos(data.getvalue()))
    assert (response.status_code, response.json()["detail"]) == (413, "0.jpg: more than 8999 pixels")


# Inference Endpoints


@pytest.fixture(scope="module")
def handler(served):
    """As the toolkit finds it: the class EndpointHandler of handler.py, made with the repository's path."""
    root, _ = served
    return module_of(EXAMPLES / "inference_endpoint/handler.py", "handler").EndpointHandler(str(root / "model"))


@pytest.mark.parametrize("form", [Image.open, lambda path: path.read_bytes(), lambda path: text_of(path)])
def test_the_handler_takes_a_picture_as_the_toolkit_gives_it(served, handler, form):
    root, model = served
    answers = handler({"inputs": form(root / "0.jpg"), "parameters": {"top_k": 3}})
    # transformers prepares it: a pixel is rounded, and resized, in another way
    reference = [(label, pytest.approx(score.expected, abs=0.03)) for label, score in expected(model, root / "0.jpg")]
    assert pairs(answers) == reference[:3]
    assert len(handler({"inputs": form(root / "0.jpg")})) == 5


def test_the_handler_takes_grey_of_16_bits_as_of_8(deep, handler):
    of_16, of_8 = (handler({"inputs": path.read_bytes()}) for path in deep)
    assert of_16 == of_8


def text_of(path):
    return base64.b64encode(path.read_bytes()).decode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "inputs must be a picture"),
        ({"inputs": 3}, "inputs must be a picture"),
        ({"inputs": "not base64!"}, "no picture of a kind"),
        ({"inputs": b"no picture"}, "no picture of a kind"),
        ({"inputs": JPEG[: len(JPEG) // 2]}, "the picture is damaged"),
        ({"inputs": b"x" * 20_000_001}, "more than 20,000,000 bytes"),
        ({"inputs": "x" * 30_000_000}, "more than 20,000,000 bytes"),
        ({"inputs": Image.new("1", (10_000, 5_001))}, "more than 50,000,000 pixels"),
        ({"inputs": Image.new("RGB", (8, 8)), "parameters": {"top_k": "3"}}, "top_k must be a number above 0"),
    ],
)
def test_the_handler_says_what_is_wrong(handler, data, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        handler(data)


# Triton, and the container


def test_tritons_configurations_are_those_of_the_exported_files(served):
    root, _ = served
    kinds = {onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.FLOAT: "TYPE_FP32"}
    for name, file, batch in (("preprocessing", "preprocessing.onnx", 0), ("network", "model.onnx", 32)):
        text = (EXAMPLES / "triton" / name / "config.pbtxt").read_text()
        assert f"max_batch_size: {batch}" in text
        graph = onnx.load(root / "onnx/onnx" / file).graph
        for way, (value,) in (("input", graph.input), ("output", graph.output)):
            stated = re.search(rf'{way} \[ {{ name: "(\w+)", data_type: (\w+), dims: \[ ([\d, -]+) \]', text)
            assert (stated[1], stated[2]) == (value.name, kinds[value.type.tensor_type.elem_type])
            sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim][1 if batch else 0 :]
            dims = [int(size) for size in stated[3].split(",")]
            assert len(dims) == len(sizes)
            free_or_equal = [size in (0, dim) for dim, size in zip(dims, sizes)]
            assert all(free_or_equal) or name == "network"  # 1000 classes there, six here
    steps = re.findall(r'model_name: "(\w+)"', (EXAMPLES / "triton/classifier/config.pbtxt").read_text())
    assert steps == ["preprocessing", "network"]


def test_the_container_file_passes_the_linter_and_pins_what_it_builds_on():
    result = subprocess.run(["hadolint", EXAMPLES / "Dockerfile"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    bases = re.findall(r"^FROM (\S+)", (EXAMPLES / "Dockerfile").read_text(), re.MULTILINE)
    assert len(bases) == 2
    assert all(re.fullmatch(r"[\w./]+:\d[\w.-]+", base) for base in bases)
