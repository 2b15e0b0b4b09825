"""A model saved in half precision runs everywhere: in float32, or on request as it was saved."""

import copy
import json

import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from shared import TINY, as_if_trained, write_image
from transformers import AutoModelForImageClassification, ResNetConfig, ResNetForImageClassification, pipeline

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.classifiers import open_classifier
from modeling_resnet50.hub.fold import fold_batch_norm
from modeling_resnet50.hub.importing import import_model
from modeling_resnet50.hub.model_folder import image_processor
from modeling_resnet50.hub.pretrained import load_teacher, starting_model
from modeling_resnet50.hub.spaces.gradio_space import app
from resnet50_cli import main
from resnet50_recipe.recipe import Recipe


NAMES = ["ant", "bee", "cat"]
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
PROCESSOR = image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", [0.5] * 3, [0.25] * 3))


@pytest.fixture(scope="module", params=[("ours", "float16"), ("theirs", "bfloat16")], ids=" ".join)
def saved(request, tmp_path_factory):
    """A folder, what is in it as float32, and its dtype."""
    library, dtype = request.param
    torch.manual_seed(0)
    labels = {"id2label": dict(enumerate(NAMES)), "label2id": {name: number for number, name in enumerate(NAMES)}}
    kind, config = {
        "ours": (ResNet50ForImageClassification, ResNet50Config),
        "theirs": (ResNetForImageClassification, ResNetConfig),
    }[library]
    model = as_if_trained(kind(config(**TINY, **labels))).to(DTYPES[dtype])
    folder = tmp_path_factory.mktemp("saved")
    model.save_pretrained(folder)
    PROCESSOR.save_pretrained(folder)
    assert {str(value.dtype) for value in load_file(folder / "model.safetensors").values()} >= {f"torch.{dtype}"}
    return folder, copy.deepcopy(model).float(), dtype


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for number in range(9):
        write_image(root / "val" / NAMES[number % 3] / f"{number}.png", seed=number, size=(32, 32))
    return root


def scores(model, photo):
    pixel_values = PROCESSOR(Image.open(photo), return_tensors="pt").pixel_values.to(model.dtype)
    with torch.no_grad():
        return dict(zip(NAMES, model(pixel_values).logits[0].float().softmax(-1).tolist()))


def predicted(capsys, *arguments):
    capsys.readouterr()
    main(["predict", *map(str, arguments), "--json"])
    return {row["label"]: row["score"] for row in json.loads(capsys.readouterr().out)["predictions"]}


def test_predict_demo_and_space_run_in_float32(saved, photos, remote_code, capsys):
    folder, model, _ = saved
    photo = photos / "val" / "ant" / "0.png"
    expected = pytest.approx(scores(model, photo), abs=1e-6)
    assert predicted(capsys, folder, photo) == expected
    asked = app.open_classifier(str(folder))
    assert dict(zip(NAMES, asked.scores(asked.pixel_values(Image.open(photo))))) == expected


def test_on_request_in_the_saved_precision(saved, photos, capsys):
    folder, model, dtype = saved
    photo = photos / "val" / "bee" / "1.png"
    half = pipeline("image-classification", str(folder), dtype=DTYPES[dtype])(str(photo))
    found = predicted(capsys, folder, photo, "--dtype", "auto")
    assert found == pytest.approx({answer["label"]: answer["score"] for answer in half}, abs=1e-6)
    assert found != pytest.approx(scores(model, photo), abs=1e-6)  # which it would be in float32


def test_evaluate_and_inspect_run_in_either_and_say_which(saved, photos, tmp_path, capsys):
    folder, _, dtype = saved
    asked = {"float16": "auto", "bfloat16": "float32"}[dtype]  # each opened as both: below
    arguments = ["--dataset", str(photos), "--num_workers", "0", "--output", str(tmp_path), "--dtype", asked]
    main(["evaluate", str(folder), *arguments])
    said = capsys.readouterr().out
    (result,) = json.loads((tmp_path / "results.json").read_text())["models"].values()
    assert result["protocol"]["dtype"] == (dtype if asked == "auto" else "float32")
    assert (f"weights in {dtype}" in said) == (asked == "auto")
    assert (tmp_path / "report.html").stat().st_size > 10_000
    photo = str(photos / "val" / "cat" / "2.png")
    main(["inspect", str(folder), "--images", photo, "--output", str(tmp_path / "page"), "--dtype", asked])
    assert (tmp_path / "page" / "grad_cam.png").exists()


def test_import_writes_float32_and_on_request_what_was_saved(saved, tmp_path, capsys):
    folder, model, dtype = saved
    pixel_values = torch.randn(2, 3, 32, 32)
    main(["import", str(folder), str(tmp_path / "float32")])
    assert f"weights: float32 here, saved in {dtype}" in capsys.readouterr().out
    main(["import", str(folder), str(tmp_path / "auto"), "--dtype", "auto"])
    for name, wanted in (("float32", torch.float32), ("auto", DTYPES[dtype])):
        assert load_file(tmp_path / name / "model.safetensors")["conv1.weight"].dtype == wanted
        again = AutoModelForImageClassification.from_pretrained(tmp_path / name).eval()
        assert again.dtype == wanted
        with torch.no_grad():
            assert torch.equal(again.float()(pixel_values).logits, model(pixel_values).logits)


def test_weights_alone_are_opened_in_float32_too(saved, photos, capsys):
    folder, model, dtype = saved
    file = folder / "model.safetensors"
    assert import_model(str(file)).model.dtype == torch.float32
    assert import_model(str(file), dtype="auto").model.dtype == DTYPES[dtype]
    for asked in ("float32", "auto"):
        opened = open_classifier(str(file), dtype=asked)
        with torch.no_grad():
            logits = opened.model(pixel_values=torch.ones(1, 3, 32, 32)).logits.float()
            torch.testing.assert_close(logits, model(torch.ones(1, 3, 32, 32)).logits, rtol=0.1, atol=0.1)


def test_training_starts_and_learns_from_it_in_float32(saved):
    folder, model, _ = saved
    recipe = Recipe(model_name_or_path=str(folder), image_mean=[0.5] * 3, image_std=[0.25] * 3)
    assert {value.dtype for value in starting_model(recipe, NAMES).parameters()} == {torch.float32}
    teacher, *_ = load_teacher(str(folder))
    pixel_values = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(teacher.eval()(pixel_values).logits, model(pixel_values).logits)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    torch.manual_seed(0)
    config = ResNet50Config(depths=[1], hidden_sizes=[16], embedding_size=8, num_labels=3)
    model = as_if_trained(ResNet50ForImageClassification(config))
    folder = tmp_path_factory.mktemp("ours")
    model.bfloat16().save_pretrained(folder)
    PROCESSOR.save_pretrained(folder)
    return folder, copy.deepcopy(model).float(), torch.bfloat16


def test_every_export_is_float32_and_on_request_as_saved(ours, tmp_path, capsys):
    folder, model, dtype = ours
    pixel_values = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(pixel_values).logits

    def export(name, *options):
        main(["export", str(folder), str(tmp_path / name), *options])
        return tmp_path / name

    for options, wanted in (((), torch.float32), (("--dtype", "auto"), dtype)):
        name = str(wanted)
        state = torch.load(export(f"{name}.pth", "--format", "pth", *options))["model_state_dict"]
        assert {value.dtype for value in state.values() if value.is_floating_point()} == {wanted}
        program = torch.export.load(export(f"{name}.pt2", "--format", "pt2", *options)).module()
        native = export(f"{name}-native", "--format", "transformers", *options)
        folded = export(f"{name}-folded", "--fold_bn", *options)
        tolerance = {"rtol": 1e-4, "atol": 1e-4} if wanted == torch.float32 else {"rtol": 0.1, "atol": 0.1}
        with torch.no_grad():
            torch.testing.assert_close(program(pixel_values.to(wanted)).float(), expected, **tolerance)
            for other_folder in (native, folded):
                other = AutoModelForImageClassification.from_pretrained(other_folder).eval()
                assert other.dtype == wanted
                torch.testing.assert_close(other(pixel_values.to(wanted)).logits.float(), expected, **tolerance)
    session = onnxruntime.InferenceSession(export("onnx", "--format", "onnx") / "onnx" / "model.onnx")
    (logits,) = session.run(None, {"pixel_values": pixel_values.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(SystemExit):
        export("refused", "--format", "onnx", "--dtype", "auto")
    assert "--dtype auto is not for onnx" in capsys.readouterr().err


def test_folding_half_precision_rounds_once(ours):
    _, model, dtype = ours
    folded, exact = fold_batch_norm(copy.deepcopy(model).to(dtype)), fold_batch_norm(model)
    for name, value in exact.state_dict().items():
        assert torch.equal(folded.state_dict()[name], value.to(dtype)), name
