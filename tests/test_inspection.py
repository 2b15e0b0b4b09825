"""`resnet50 inspect`: its numbers against a calculation by hand, its pictures against what the loop gets."""

import json
import re

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from shared import PROJECT, TINY, as_if_trained, write_image, write_shards
from test_report import Page
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.commands import inspect as command
from modeling_resnet50.data.pipeline import load_training_data
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.evaluation import inspection
from modeling_resnet50.evaluation.grad_cam import grad_cam
from modeling_resnet50.evaluation.inspection import explained_picture, first_filters, measure_stages, training_pictures
from modeling_resnet50.hub.classifiers import Classifier, TimmClassifier
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_cli import main
from resnet50_recipe.errors import UserError
from resnet50_recipe.training_arguments import TrainingArguments


NAMES = ["ant", "bee, honey bee", "cat"]
MEAN_STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def tiny_model():
    label2id = {name: number for number, name in enumerate(NAMES)}
    config = ResNet50Config(**TINY, id2label=dict(enumerate(NAMES)), label2id=label2id)
    return as_if_trained(ResNet50ForImageClassification(config))


# The table


def test_flops_and_parameters_of_each_stage_are_those_of_a_calculation_by_hand():
    model = ResNet50ForImageClassification(ResNet50Config(num_labels=1000))
    stages = measure_stages(model, torch.zeros(1, 3, 224, 224), runs=1)

    def bottleneck(channels_in, inner, side_in, side, shortcut):
        """Multiply-adds and weights: 1×1, 3×3 (which has the stride) and 1×1; BatchNorm has two for each channel."""
        out = 4 * inner
        macs = channels_in * inner * side_in**2 + 9 * inner * inner * side**2 + inner * out * side**2
        weights = channels_in * inner + 9 * inner * inner + inner * out + 2 * (inner + inner + out)
        if shortcut:
            macs += channels_in * out * side**2
            weights += channels_in * out + 2 * out
        return np.array([macs, weights])

    def stage(channels_in, inner, side_in, side, depth):
        rest = (depth - 1) * bottleneck(4 * inner, inner, side, side, shortcut=False)
        return bottleneck(channels_in, inner, side_in, side, shortcut=True) + rest

    by_hand = {
        "stem": (3 * 49 * 64 * 112**2, 3 * 49 * 64 + 2 * 64),
        "layer1": stage(64, 64, 56, 56, 3),
        "layer2": stage(256, 128, 56, 28, 4),
        "layer3": stage(512, 256, 28, 14, 6),
        "layer4": stage(1024, 512, 14, 7, 3),
        "head": (2048 * 1000, 2048 * 1000 + 1000),
    }
    assert {s.name: (s.flops, s.parameters) for s in stages} == {n: (2 * m, p) for n, (m, p) in by_hand.items()}
    assert sum(s.flops for s in stages) / 2 == pytest.approx(4.09e9, rel=1e-3)  # as the literature has it
    assert sum(s.parameters for s in stages) == 25_557_032
    assert [s.output_shape for s in stages] == [
        (64, 56, 56), (256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7), (1000,),
    ]  # fmt: skip


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_other_libraries_resnet_has_the_same_stages_and_is_explained_as_well(library):
    fields = {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 96, 128, 160], "num_labels": 1000}
    if library == "timm":
        other = TimmClassifier(timm.create_model("resnet26", channels=(16, 24, 32, 40))).eval()
    else:
        other = ResNetForImageClassification(ResNetConfig(**fields)).eval()
    model = ResNet50ForImageClassification(ResNet50Config(**fields))
    ours = measure_stages(model, torch.zeros(1, 3, 32, 32), runs=1)
    theirs = measure_stages(other, torch.zeros(2, 3, 32, 32), runs=1)  # FLOPs are those of one image
    assert len(theirs) == 6
    for mine, their in zip(ours, theirs):
        assert (mine.flops, mine.parameters, mine.output_shape) == (their.flops, their.parameters, their.output_shape)
    assert theirs[1].name == ("layer1" if library == "timm" else "stages.0")
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    assert len(explained_picture(other, pixels, torch.zeros(3, 1, 1), torch.ones(3, 1, 1), ["?"] * 1000).images) == 2


def test_time_goes_to_the_stage_that_takes_it_and_the_median_to_the_table(monkeypatch):
    model = tiny_model()
    clock = {"now": 0.0, "run": 0}
    monkeypatch.setattr(inspection, "_clock", lambda device: lambda: clock["now"])

    def takes(module, milliseconds):
        def pass_time(*_):
            clock["now"] += milliseconds(clock["run"])

        module.register_forward_hook(pass_time)

    model.register_forward_pre_hook(lambda *_: clock.update(run=clock["run"] + 1))
    takes(model.bn1, lambda run: 2)
    takes(model.layer1[0].conv2, lambda run: 5)
    takes(model.layer2[0].bn1, lambda run: {6: 100}.get(run, run))  # FLOPs, two warm-ups, then runs 4, 5 and 6
    takes(model.fc, lambda run: 1)
    stages = measure_stages(model, torch.zeros(1, 3, 32, 32), runs=3)
    assert {stage.name: stage.milliseconds for stage in stages} == {"stem": 2, "layer1": 5, "layer2": 5, "head": 1}
    assert not model.layer1._forward_hooks  # its own are gone


def test_a_network_without_stages_is_refused():
    with pytest.raises(UserError, match="Sequential has no stages that are known here"):
        measure_stages(nn.Sequential(nn.Conv2d(3, 4, 1)), torch.zeros(1, 3, 8, 8))


# The pictures


def test_filters_are_grey_where_zero_and_scaled_each_by_its_largest_weight():
    model = tiny_model()
    weight = torch.zeros(8, 3, 7, 7)
    weight[0, 0, 2, 5] = 0.03  # red, in row 2 and column 5
    weight[3] = -2.0
    weight[3, 2] = 1.0
    model.conv1.weight.data = weight
    sheet = first_filters(model)
    scale = 64 // 7
    side = 7 * scale + 8
    assert sheet.size == (4 * side - 8, 2 * side - 8)
    assert sheet.getpixel((5 * scale, 2 * scale)) == (255, 128, 128, 255)
    assert sheet.getpixel((4 * scale, 2 * scale)) == (128, 128, 128, 255)
    assert sheet.getpixel((3 * side + 3, 3)) == (0, 0, 191, 255)
    assert sheet.getpixel((side - 4, 3))[3] == 0  # between them: transparent, on white and on black
    assert first_filters(nn.Conv2d(4, 4, 3)) is None


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("inspection") / "images"
    for split, count in (("train", 16), ("val", 4)):
        for label, name in enumerate(NAMES):
            for number in range(count):
                write_image(root / split / name / f"{number}.png", seed=100 * label + number)
    return root


def test_training_pictures_are_the_batches_of_the_loop_although_one_process_shares_them(image_folder, monkeypatch):
    monkeypatch.setattr(command, "_ENOUGH_IMAGES", 3)  # 8 processes would have so many, but an odd number
    recipe = TrainingArguments(
        dataset_name=str(image_folder), image_size=16, total_train_batch_size=24, color_jitter=0.4,
        mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing_factor=0.1,
    )  # fmt: skip
    shared = command._load(recipe)
    assert len(next(iter(shared.train_loader))["labels"]) == 4
    pictures = list(training_pictures(shared.train_loader, 3, shared.label_names, 0.1, per_batch=3))
    loop = load_training_data(recipe, torch.device("cpu"), 0, 0, 1)
    loop.train_loader.sampler.start(3)
    batches = list(loop.train_loader)
    assert len(pictures) == 3 * len(batches) == 6
    for picture, (batch, row) in zip(pictures, ((batch, row) for batch in batches for row in range(3))):
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (recipe.image_mean, recipe.image_std))
        pixels = 255 * (batch["pixel_values"][row] * std + mean)
        np.testing.assert_allclose(np.asarray(picture.images[0]), pixels.permute(1, 2, 0).numpy(), atol=0.51)
        most, least = batch["targets"][row].max(), batch["targets"][row].sort(descending=True).values[1]
        lam = float((most - 0.1 / 3) / 0.9)
        name = NAMES[int(batch["labels"][row])].split(",")[0]
        assert picture.caption.startswith(name if least < 0.04 else f"{name} {lam:.0%} + ")
    assert len({picture.caption.split(" ")[1] for picture in pictures if " " in picture.caption}) == 2  # two mixings


def test_maps_explain_the_answer_and_where_it_is_wrong_the_truth():
    model = tiny_model()
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in MEAN_STD)
    pixel_values = ((pixels / 255 - mean) / std)[None]
    probabilities = model(pixel_values).logits[0].softmax(-1)
    answer, truth = int(probabilities.argmax()), int(probabilities.argmin())

    right = explained_picture(model, pixels, mean, std, NAMES, answer)
    wrong = explained_picture(model, pixels, mean, std, NAMES, truth)
    unknown = explained_picture(model, pixels, mean, std, NAMES, None, "photo.jpg")
    assert [len(picture.images) for picture in (right, wrong, unknown)] == [2, 3, 2]
    assert [picture.right for picture in (right, wrong, unknown)] == [True, False, None]
    said, in_truth = (f"{NAMES[label].split(',')[0]} {probabilities[label]:.0%}" for label in (answer, truth))
    assert (right.caption, unknown.caption) == (said, f"photo.jpg: {said}")
    assert wrong.caption == f"{said}, in truth {in_truth}"
    for picture, label in ((right.images[1], answer), (wrong.images[2], truth)):
        heat = grad_cam(model, pixel_values, torch.tensor([label]))[0]  # by the hidden states that the model returns
        assert np.array_equal(np.asarray(picture), np.asarray(inspection.overlay(right.images[0], heat.numpy())))


# The command


@pytest.fixture(scope="module")
def run(image_folder, tmp_path_factory):
    """The folder of a run, as far as the command looks at it."""
    folder = tmp_path_factory.mktemp("runs") / "insects"
    (folder / "best").mkdir(parents=True)
    torch.manual_seed(0)
    save_model_and_processor(
        folder / "best", tiny_model(), image_processor(Preprocessing.by_ratio(32, 0.875, "bilinear", *MEAN_STD))
    )
    settings = {"image_size": 32, "total_train_batch_size": 8, "num_train_epochs": 6, "cutmix_alpha": 1.0}
    TrainingArguments(dataset_name=str(image_folder), output_dir=str(folder), **settings).save(folder / "recipe.yaml")
    return folder


def test_a_run_is_shown_as_a_table_a_page_and_pictures(run, tmp_path, capsys):
    main(["inspect", str(run), "--output", str(tmp_path), "--samples", "8", "--epoch", "2"])
    printed = capsys.readouterr().out
    assert re.search(r"layer2 +16 × 4 × 4 +\d", printed)
    assert "a multiplication and an addition are two" in " ".join(printed.split())
    page = Page(tmp_path / "inspection.html")
    assert page.text.count("Inspection of insects") == 2  # also the window's title
    assert [cell in page.text for cell in ("stem", "layer1", "layer2", "head", "8 × 8 × 8")] == [True] * 5
    assert len(page.pictures["First filters"]) == 1
    assert len(page.pictures["Training images"]) == 8
    assert "The first images of the first 2 batches of epoch 2" in page.words("Training images")
    assert "% + " in page.words("Training images")
    assert len(page.pictures["Where it looks"]) >= 2 * 8
    assert page.text.count("in truth") == len(page.pictures["Where it looks"]) - 2 * 8
    for name in ("filters", "samples", "grad_cam"):
        assert Image.open(tmp_path / f"{name}.png").size > (100, 100)


def test_a_model_alone_with_files_needs_no_data_and_speaks_json(run, image_folder, tmp_path, capsys):
    photo = image_folder / "val" / "ant" / "0.png"
    options = ["--images", str(photo), "--output", str(tmp_path), "--image_size", "64", "--json"]
    main(["inspect", str(run / "best"), *options])
    result = json.loads(capsys.readouterr().out)
    assert [stage["output_shape"] for stage in result["stages"]] == [[8, 16, 16], [8, 16, 16], [16, 8, 8], [3]]
    assert result["parameters"] == tiny_model().num_parameters()
    assert result["flops"] == sum(stage["flops"] for stage in result["stages"])
    assert {file.rsplit("/", 1)[1] for file in result["files"]} == {"inspection.html", "filters.png", "grad_cam.png"}
    page = Page(tmp_path / "inspection.html")
    assert "0.png: " in page.words("Where it looks")
    assert "Training images" not in page.text


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_a_bare_model_takes_its_images_from_a_recipe_whose_fields_can_be_given(run, image_folder, tmp_path, streaming):
    data = write_shards(image_folder, tmp_path / "shards") if streaming == "true" else image_folder
    recipe = ["--config", str(PROJECT / "recipes/imagenet1k.yaml"), "--dataset_name", str(data)]
    fields = ["--total_train_batch_size", "12", "--streaming", streaming]
    main(["inspect", str(run / "best"), *recipe, *fields, "--output", str(tmp_path)])
    page = Page(tmp_path / "inspection.html")
    assert len(page.pictures["Training images"]) == 24
    assert len(page.pictures["Where it looks"]) >= 2 * 8


def test_where_the_data_has_other_classes_the_truth_is_left_out(run, tmp_path, capsys):
    for split in ("train", "val"):
        for seed, name in enumerate(("dog", "elk")):
            write_image(tmp_path / "images" / split / name / "0.png", seed=seed)
    recipe = ["--config", str(PROJECT / "recipes/imagenet1k.yaml"), "--dataset_name", str(tmp_path / "images")]
    fields = ["--total_train_batch_size", "1", "--samples", "0"]
    main(["inspect", str(run / "best"), *recipe, *fields, "--output", str(tmp_path)])
    assert "the data has 2 classes (dog, …), the model 3" in capsys.readouterr().err
    page = Page(tmp_path / "inspection.html")
    assert len(page.pictures["Where it looks"]) == 4  # two images, and where the model looks
    assert "Training images" not in page.text


def test_an_onnx_file_has_nothing_to_look_into(monkeypatch, capsys):
    classifier = Classifier(nn.Identity(), NAMES, Preprocessing.by_ratio(32, 0.875, "bilinear", *MEAN_STD))
    monkeypatch.setattr(command, "open_classifier", lambda *source_and_options: classifier)
    with pytest.raises(SystemExit):
        main(["inspect", "model.onnx"])
    assert "error: model.onnx is an ONNX file, which shows nothing of its stages" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["RUN/best", "--samples", "4"], "--samples needs a recipe that says how images are augmented"),
        (
            ["RUN/best", "--dataset_name", "x"],
            "unknown argument '--dataset_name': fields of a recipe need --config, or a run",
        ),
        (["RUN", "--learning_rat", "1"], "unknown argument '--learning_rat'; did you mean '--learning_rate'"),
        (["RUN", "--epoch", "7"], r"--epoch must be in \[1, 6\], the recipe's, got 7"),
        (["RUN", "--samples", "-1"], "--samples must be 0 or more"),
        (["RUN", "--batch_size", "0"], "--batch_size must be at least 1"),
        (["RUN", "--images", "RUN/recipe.yaml"], "unreadable image: .*recipe.yaml"),
        (["RUN", "--images", "RUN/none.jpg"], "unreadable image: .*none.jpg: No such file"),
        (["EMPTY"], "is a run that has no best/ yet"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(options, message, run, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("{}")
    options = [option.replace("RUN", str(run)).replace("EMPTY", str(tmp_path)) for option in options]
    with pytest.raises(SystemExit) as exit_:
        main(["inspect", *options])
    assert exit_.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(message, error)
