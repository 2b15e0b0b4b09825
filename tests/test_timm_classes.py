"""A model of timm with classes of its own keeps their names and their order wherever it goes."""

import json
import shutil

import pytest
import timm
import torch
from PIL import Image
from shared import as_if_trained, tiny_arguments, write_image
from timm.data import create_transform, resolve_model_data_config
from transformers import AutoConfig

from modeling_resnet50.hub.classifiers import open_classifier
from modeling_resnet50.hub.importing import import_model
from modeling_resnet50.hub.model_folder import load_model
from resnet50_cli import main
from resnet50_recipe.errors import UserError


CODES = ["zebra", "ant", "cow"]  # not in the order of the alphabet, in which folders are read
WORDS = {"zebra": "a striped horse", "ant": "a small worker", "cow": "a grazing one"}
SMALL = {"layers": (1, 1, 1, 1), "channels": (16, 24, 32, 40)}


def timm_folder(folder, **about_classes):
    """A model, saved as timm does it."""
    torch.manual_seed(0)
    size = {"input_size": (3, 32, 32), "test_input_size": (3, 32, 32)}
    cfg = {**size, "crop_pct": 1.0, "test_crop_pct": 1.0, "interpolation": "bilinear"}
    model = as_if_trained(timm.create_model("resnet18", **SMALL, num_classes=3, pretrained_cfg_overlay=cfg))
    with torch.no_grad():  # so that each class is somebody's
        model.fc.bias -= model(torch.stack([pixels(model, path) for path in photos(folder.parent)])).mean(0)
    timm.models.save_for_hf(model, folder, model_config=about_classes, model_args=SMALL)
    return model


def photos(root):
    for number in range(18):
        path = root / "photos" / f"{number}.png"
        if not path.exists():
            write_image(path, seed=number, size=(32, 32))
    return sorted((root / "photos").iterdir())


def pixels(model, path):
    return create_transform(**resolve_model_data_config(model))(Image.open(path).convert("RGB"))


@pytest.fixture(scope="module", params=["names", "numbered", "codes", "codes in words"])
def perfect(request, tmp_path_factory):
    """A folder of timm, photographs sorted as its model sees them, what their folders are called, and its names."""
    root = tmp_path_factory.mktemp("perfect")
    about = {"label_names": CODES}
    if request.param == "numbered":
        about["label_names"] = {str(index): CODES[index] for index in (2, 0, 1)}
    elif request.param.startswith("codes"):
        about["label_descriptions"] = WORDS
    model = timm_folder(root / "timm", **about)
    in_words = [WORDS[code] for code in CODES] if request.param.startswith("codes") else CODES
    folders = in_words if request.param == "codes in words" else CODES
    with torch.no_grad():
        seen = [model(pixels(model, path)[None]).argmax().item() for path in photos(root)]
    assert set(seen) == {0, 1, 2}
    for split in ("train", "val"):
        for path, label in zip(photos(root), seen):
            (root / "images" / split / folders[label]).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / "images" / split / folders[label] / path.name)
    return root / "timm", root / "images", folders, in_words


def top1(source, images, tmp_path, capsys):
    capsys.readouterr()
    main(["evaluate", str(source), "--dataset", str(images), "--num_workers", "0", "--json"])
    out = capsys.readouterr()
    assert "matched by position" not in out.err
    return json.loads(out.out)["top1"]


def test_a_perfect_classifier_is_perfect_before_and_after_import(perfect, tmp_path, capsys):
    folder, images, _, names = perfect
    assert top1(folder, images, tmp_path, capsys) == 1
    main(["import", str(folder), str(tmp_path / "ours")])
    assert list(AutoConfig.from_pretrained(tmp_path / "ours").id2label.values()) == names
    assert top1(tmp_path / "ours", images, tmp_path, capsys) == 1
    main(["import", str(tmp_path / "ours"), str(tmp_path / "again")])
    assert top1(tmp_path / "again", images, tmp_path, capsys) == 1


def test_predict_and_the_demo_say_their_names(perfect, capsys):
    folder, images, folders, names = perfect
    for code, name in zip(folders, names):
        photo = next((images / "val" / code).iterdir())
        capsys.readouterr()
        main(["predict", str(folder), str(photo), "--topk", "1", "--json"])
        assert json.loads(capsys.readouterr().out)["predictions"][0]["label"] == name
    assert open_classifier(str(folder)).label_names == names  # which the demo shows


@pytest.mark.parametrize("perfect", ["names", "codes", "codes in words"], indirect=True, scope="module")
def test_fine_tuning_keeps_the_classifier_and_the_card_names_the_classes(perfect, tmp_path, train, capsys):
    folder, images, folders, _ = perfect
    arguments = tiny_arguments(
        images, tmp_path / "run", model_name_or_path=folder, learning_rate=0, freeze_batch_norm=True,
        num_train_epochs=1, warmup_epochs=0, image_size=32, eval_crop_ratio=1.0, config_overrides="{}",
    )  # fmt: skip
    train(arguments)
    tuned, _ = load_model(str(tmp_path / "run" / "final"))
    assert list(tuned.config.id2label.values()) == sorted(folders)
    assert top1(tmp_path / "run" / "final", images, tmp_path, capsys) == 1
    card = (tmp_path / "run" / "final" / "README.md").read_text()
    assert "Classes: " + " · ".join(f"`{name}`" for name in sorted(folders)) in card


def test_words_that_two_classes_share_have_their_codes_behind_them(tmp_path):
    timm_folder(tmp_path / "timm", label_names=CODES, label_descriptions={**WORDS, "cow": WORDS["zebra"]})
    assert open_classifier(str(tmp_path / "timm")).label_names == [
        "a striped horse (zebra)", "a small worker", "a striped horse (cow)",
    ]  # fmt: skip


def test_a_class_without_a_name_is_numbered_and_wordnet_ids_come_in_words(tmp_path):
    timm_folder(tmp_path / "gap", label_names={"0": "zebra", "2": "cow"})
    assert open_classifier(str(tmp_path / "gap")).label_names == ["zebra", "LABEL_1", "cow"]
    timm_folder(tmp_path / "wnids", label_names=["n02391049", "n01440764", "n02123045"])
    assert open_classifier(str(tmp_path / "wnids")).label_names == ["zebra", "tench, Tinca tinca", "tabby, tabby cat"]


def test_a_thousand_classes_of_ones_own_are_not_imagenets(tmp_path):
    model = timm.create_model("resnet18", **SMALL, num_classes=1000)
    names = [f"product {number}" for number in range(1000)]
    timm.models.save_for_hf(model, tmp_path, model_config={"label_names": names}, model_args=SMALL)
    assert list(import_model(str(tmp_path)).model.config.id2label.values()) == names


@pytest.mark.parametrize("names", [["zebra", "ant"], {"0": "zebra", "3": "ant"}])
def test_names_for_other_classes_than_it_has_are_refused(tmp_path, names):
    timm_folder(tmp_path / "timm", label_names=names)
    with pytest.raises(UserError, match="has label_names for 2 classes, but tells 3 apart"):
        open_classifier(str(tmp_path / "timm"))


def test_codes_are_forgotten_with_the_classes_they_belong_to(tmp_path):
    timm_folder(tmp_path / "timm", label_names=CODES, label_descriptions=WORDS)
    main(["import", str(tmp_path / "timm"), str(tmp_path / "ours")])
    config = AutoConfig.from_pretrained(tmp_path / "ours")
    assert config.class_codes() == config.to_dict()["pretrained_cfg"]["label_names"] == CODES
    config = AutoConfig.from_pretrained(tmp_path / "ours", id2label={0: "x", 1: "y", 2: "z"})
    assert config.class_codes() is None
    assert "label_names" not in config.to_dict()["pretrained_cfg"]
