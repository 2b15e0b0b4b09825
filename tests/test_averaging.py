"""`resnet50 average`: one model whose weights are the mean of others'."""

import json
import shutil
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import load_file, save_file
from shared import TINY, as_if_trained
from torch.optim.swa_utils import update_bn
from transformers import AutoImageProcessor, AutoModelForImageClassification

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.sources import load_splits
from modeling_resnet50.hub.averaging import average
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_cli import main
from resnet50_recipe.errors import UserError


PREPROCESSING = Preprocessing.by_ratio(16, 1.0, "bilinear", [0.5] * 3, [0.25] * 3)


def write_model(
    folder: Path, seed: int, dtype: torch.dtype = torch.float32, names: tuple = ("ant", "bee", "cat"), **fields
) -> Path:
    torch.manual_seed(seed)
    preprocessing = fields.pop("preprocessing", PREPROCESSING)
    config = ResNet50Config(**{**TINY, **fields}, id2label=dict(enumerate(names)))
    model = as_if_trained(ResNet50ForImageClassification(config))
    torch.nn.Module.to(model, dtype)
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value += 100 * seed
    folder.mkdir()
    save_model_and_processor(folder, model, image_processor(preprocessing))
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture
def models(tmp_path) -> list[str]:
    return [str(write_model(tmp_path / name, seed)) for seed, name in enumerate(["one", "two", "three"], 1)]


def test_each_weight_is_the_mean_and_of_counts_it_is_the_largest(models, tmp_path, capsys):
    main(["average", *models, "--output", str(tmp_path / "mean")])
    assert "the mean of 3 models" in capsys.readouterr().out
    one, two, three = (weights_of(Path(model)) for model in models)
    for name, value in weights_of(tmp_path / "mean").items():
        if name.endswith("num_batches_tracked"):
            assert value == 300
        else:
            expected = (one[name].double() + two[name].double() + three[name].double()) / 3
            assert value.dtype == torch.float32
            assert torch.equal(value, expected.float()), name
    # It opens as any model does, with the same classes and images.
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "mean")
    assert model.config.id2label == {0: "ant", 1: "bee", 2: "cat"}
    processor = AutoImageProcessor.from_pretrained(tmp_path / "mean")
    assert Preprocessing.from_processor(processor, "mean") == PREPROCESSING
    card = (tmp_path / "mean" / "README.md").read_text()
    assert "The mean of 3 models" in card
    assert str(tmp_path) not in card
    for name in ("one", "two", "three"):
        assert f"| {name} | as they were saved | " in card
    assert "BatchNorm's statistics are the mean" in card


def test_half_precision_is_summed_in_64_bits_and_stays_half(tmp_path):
    """Of 0.1 in bfloat16 and the numbers around it, sums in bfloat16 itself would be off."""
    folders = [write_model(tmp_path / str(seed), seed, torch.bfloat16) for seed in range(1, 5)]
    found = average([str(folder) for folder in folders]).model
    name = "layer1.0.conv1.weight"
    expected = torch.stack([weights_of(folder)[name].double() for folder in folders]).mean(0)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found.state_dict()[name], expected.to(torch.bfloat16))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"depths": [1, 2]}, r"other is of another architecture than .*one: depths \[1, 2\], not \[1, 1\]"),
        ({"hidden_act": "gelu"}, r"another architecture than .*one: hidden_act gelu, not relu"),
        ({"names": ("ant", "cat", "bee")}, "other has other classes than .*one, or in another order"),
        ({"names": ("ant", "bee")}, "other has other classes than .*one, or in another order"),
        ({"dtype": torch.float16}, "other is of torch.float16, and .*one of torch.float32"),
        ({"preprocessing": Preprocessing(20, 16)}, "prepares its images otherwise"),
    ],
)
def test_models_that_differ_in_more_than_weights_have_no_mean(other, message, models, tmp_path):
    write_model(tmp_path / "other", 4, **other)
    with pytest.raises(UserError, match=message):
        average([models[0], str(tmp_path / "other")])


def test_what_else_is_refused(models, capsys):
    with pytest.raises(UserError, match="the average of one model is that model"):
        average(models[:1])
    with pytest.raises(UserError, match="--use_ema is about checkpoints"):
        average(models, use_ema=True)
    state = weights_of(Path(models[1]))
    state["fc.weight"][0, 0] = torch.nan
    save_file(state, Path(models[1]) / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="two: some of its weights are not finite"):
        average(models)
    with pytest.raises(SystemExit):
        main(["average", *models, "--output", models[2]])
    assert "three is there already: choose another place, or give --overwrite" in capsys.readouterr().err
    assert (Path(models[2]) / "config.json").exists()


RUN = {"checkpoint_every_epochs": 1, "num_train_epochs": 3, "warmup_epochs": 1, "ema_decay": 0.5}


@pytest.mark.parametrize("use_ema", [False, True])
def test_checkpoints_give_their_weights_or_the_averages_that_they_hold(use_ema, trained, tmp_path, capsys):
    run = trained(**RUN)
    capsys.readouterr()
    checkpoints = [run / "checkpoints" / f"epoch-000{epoch}" for epoch in (2, 3)]
    main([
        "average", *map(str, checkpoints), "--output", str(tmp_path / "mean"), "--json", *["--use_ema"] * use_ema
    ])  # fmt: skip
    told = json.loads(capsys.readouterr().out)["mean_of"]
    words = "the average of the weights (EMA or SWA)" if use_ema else "the weights"
    assert told[0]["weights"] == f"{words} after 6 steps, at the end of epoch 2"
    file, prefix = ("average.safetensors", "module.") if use_ema else ("model.safetensors", "")
    two, three = (load_file(checkpoint / file) for checkpoint in checkpoints)
    for name, value in weights_of(tmp_path / "mean").items():
        first, second = two[prefix + name], three[prefix + name]
        is_count = name.endswith("num_batches_tracked")
        expected = second if is_count else ((first.double() + second.double()) / 2).float()
        assert torch.equal(value, expected), name
    assert json.loads((tmp_path / "mean" / "config.json").read_text())["id2label"]["0"] == "ant"


def test_a_checkpoint_is_proved_whole_and_has_to_lie_in_its_run(trained, tmp_path):
    run = trained(**RUN)
    moved = shutil.copytree(run / "checkpoints" / "epoch-0002", tmp_path / "alone" / "checkpoints" / "epoch-0002")
    with pytest.raises(UserError, match="does not know its classes, and its run has neither best/ nor final/"):
        average([str(moved)] * 2)
    (moved / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"model.safetensors has 0 bytes instead of"):
        average([str(moved)] * 2)


def test_recalibrated_statistics_are_those_of_the_training_images(models, image_folder, tmp_path):
    main([
        "average", *models, "--output", str(tmp_path / "mean"), "--recalibrate", str(image_folder),
        "--batch_size", "24", "--num_workers", "0",
    ])  # fmt: skip
    model = average(models).model
    processor = AutoImageProcessor.from_pretrained(tmp_path / "mean", backend="pil")
    images = load_splits(str(image_folder))["train"].cast_column("image", datasets.Image())["image"]
    update_bn([processor(list(images), return_tensors="pt").pixel_values], model)
    measured = weights_of(tmp_path / "mean")
    for name, value in model.state_dict().items():
        if "running" in name:
            assert torch.allclose(measured[name], value, rtol=0.02, atol=0.01), name
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(measured[name], value), name
    card = (tmp_path / "mean" / "README.md").read_text()
    assert "measured anew on `24 images of images`" in card
