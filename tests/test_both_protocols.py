"""The same model on timm's pixels and on those of its image processor in transformers."""

import json
import re

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from shared import TINY, as_if_trained, tiny_arguments, write_image
from transformers import AutoImageProcessor, pipeline

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.commands.evaluation_data import make_loader
from modeling_resnet50.commands.preparation import Preparation
from modeling_resnet50.commands.typed_options import Loading
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.sources import load_evaluation_split
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_cli import main


MEAN, STD = [0.48, 0.45, 0.40], [0.22, 0.23, 0.24]
SIZES = [(39, 32), (43, 40), (41, 64), (57, 33)]  # their margins are even and odd, on either side of a half


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=2)))
    folder = tmp_path_factory.mktemp("model")
    save_model_and_processor(folder, model, image_processor(Preprocessing.by_ratio(29, 29 / 32, "bicubic", MEAN, STD)))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for number, size in enumerate(SIZES * 2):
        write_image(root / "val" / f"class{number % 2}" / f"{number}.{'jpg' if number < 4 else 'png'}", number, size)
    return root


def loaded(folder, photos, library):
    processor = AutoImageProcessor.from_pretrained(folder)
    dataset = load_evaluation_split(str(photos), None)
    order = [[(0, index) for index in range(len(dataset))]]
    preparation = Preparation(Preprocessing.from_processor(processor, "it"), library)
    loader = make_loader(dataset, order, preparation, torch.device("cpu"), Loading(len(dataset), num_workers=0))
    (batch,) = loader
    return [Image.open(row["path"]) for row in dataset["image"]], batch["pixel_values"]


def test_transformers_pixels_are_those_of_a_pipeline_to_the_bit(folder, photos):
    images, pixel_values = loaded(folder, photos, "transformers")
    classify = pipeline("image-classification", str(folder))
    for image, ours in zip(images, pixel_values, strict=True):
        assert torch.equal(classify.preprocess(image)["pixel_values"][0], ours)


def test_timms_pixels_are_those_of_timm(folder, photos):
    images, pixel_values = loaded(folder, photos, "timm")
    asked = {"input_size": (3, 29, 29), "crop_pct": 29 / 32, "mean": MEAN, "std": STD, "interpolation": "bicubic"}
    data = timm.data.resolve_data_config(asked)
    transform = timm.data.create_transform(**data)
    for image, ours in zip(images, pixel_values, strict=True):
        torch.testing.assert_close(transform(image.convert("RGB")), ours, rtol=0, atol=1e-5)
    assert not torch.allclose(pixel_values, loaded(folder, photos, "transformers")[1], atol=0.05)  # a pixel away


def test_predict_by_transformers_gives_the_pipelines_scores(folder, photos, capsys):
    classify = pipeline("image-classification", str(folder))
    for photo in sorted((photos / "val").rglob("*.*")):
        main(["predict", str(folder), str(photo), "--protocol", "transformers", "--json"])
        found = {row["label"]: row["score"] for row in json.loads(capsys.readouterr().out)["predictions"]}
        expected = {answer["label"]: answer["score"] for answer in classify(Image.open(photo))}
        assert found == pytest.approx(expected, abs=1e-6)


def evaluated(folder, photos, out, protocol):
    arguments = ["--dataset", str(photos), "--num_workers", "0", "--output", str(out), "--protocol", protocol]
    main(["evaluate", str(folder), *arguments])
    (result,) = json.loads((out / "results.json").read_text())["models"].values()
    return result


@pytest.mark.usefixtures("without_pages")
def test_evaluate_says_which_and_of_both_the_difference(folder, photos, tmp_path, capsys):
    results = {name: evaluated(folder, photos, tmp_path / name, name) for name in ("timm", "transformers", "both")}
    said = capsys.readouterr().out
    assert "bicubic, as timm" in said
    assert "bicubic, as transformers" in said
    assert results["timm"]["loss"] != results["transformers"]["loss"]
    assert results["timm"]["by_transformers"] is results["transformers"]["by_transformers"] is None
    both = results["both"]
    assert both["loss"] == results["timm"]["loss"]
    assert both["by_transformers"]["loss"] == results["transformers"]["loss"]
    difference = both["by_transformers"]["top1_difference"]["value"]
    assert difference == pytest.approx(results["transformers"]["top1"]["value"] - results["timm"]["top1"]["value"])
    notes = re.findall("by the saved image processor, in transformers: top-1 .*", said)
    assert notes == [f"by the saved image processor, in transformers: {_words(both['by_transformers'])}"]


def _words(other) -> str:
    value, low, high = (100 * other["top1_difference"][name] for name in ("value", "low", "high"))
    return f"top-1 {other['top1']['value']:.2%} ({value:+.2f} points, {low:+.2f} to {high:+.2f})"


@pytest.mark.usefixtures("without_pages")
def test_the_card_of_a_run_states_the_difference_where_both_were_run(image_folder, tmp_path, train):
    train(tiny_arguments(image_folder, tmp_path / "run", image_size=29, eval_crop_ratio=29 / 32))
    card = tmp_path / "run" / "best" / "README.md"
    assert "With its pixels" not in card.read_text()
    evaluated(tmp_path / "run" / "best", image_folder, tmp_path / "timm", "timm")
    assert "With its pixels" not in card.read_text()
    before = card.read_text()
    result = evaluated(tmp_path / "run" / "best", image_folder, tmp_path / "both", "both")
    told = f" With its pixels, {_words(result['by_transformers'])}, on 15 images of `images`."
    assert told in card.read_text()
    assert card.read_text().replace(told, "") == before
    assert str(tmp_path) not in card.read_text()
    assert np.isfinite(result["loss"]["value"])
