"""Grey images and RGBA from file to answer; other numbers of channels are refused before anything starts."""

import io
import json

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from PIL import Image
from shared import PROJECT, TINY, as_if_trained, tiny_arguments
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor
from transformers import AutoImageProcessor, ResNetConfig, ResNetForImageClassification

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.augmentation import TrainingTransform
from modeling_resnet50.data.decoding import EncodedImage, decode_image
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.classifiers import open_classifier
from modeling_resnet50.hub.importing import import_model
from modeling_resnet50.hub.model_folder import image_processor, load_model, save_model_and_processor
from modeling_resnet50.hub.pretrained import load_teacher, starting_model
from modeling_resnet50.hub.spaces.gradio_space import app
from modeling_resnet50.training.losses import Teacher
from resnet50_cli import main
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


MODES = {1: "L", 3: "RGB", 4: "RGBA"}
MEANS = {1: [0.45], 4: [0.5, 0.45, 0.4, 0.9]}
STDS = {1: [0.22], 4: [0.2, 0.21, 0.22, 0.3]}


def encoded(mode: str, image_format: str, size=(40, 32)) -> bytes:
    """A smooth picture, of which the opacity is no constant either."""
    channels = {"L": 1, "P": 3, "LA": 2, "CMYK": 4}.get(mode, len(mode))
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, channels), dtype=np.uint8)
    image = Image.fromarray(coarse.squeeze(), "RGB" if mode == "P" else mode).resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    (image.convert("P") if mode == "P" else image).save(buffer, image_format)
    return buffer.getvalue()


FILES = [("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("RGBA", "WEBP"), ("L", "JPEG"),
         ("RGB", "JPEG"), ("CMYK", "JPEG")]  # fmt: skip


@pytest.mark.parametrize("num_channels", MODES)
@pytest.mark.parametrize(("mode", "image_format"), FILES)
def test_every_file_becomes_what_pillow_makes_of_it(mode, image_format, num_channels):
    data = encoded(mode, image_format)
    expected = pil_to_tensor(Image.open(io.BytesIO(data)).convert(MODES[num_channels]))
    assert torch.equal(decode_image(data, num_channels), expected)
    for decoder in ("simplejpeg", "nvimgcodec"):
        image = EncodedImage({"bytes": data, "path": None}, "it", decoder, num_channels)
        assert image.shape == expected.shape
        assert torch.equal(image[:, 3:20, 5:30], expected[:, 3:20, 5:30])


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """`train` and `val` with three classes, in files of several modes."""
    root = tmp_path_factory.mktemp("images")
    for split, count in (("train", 6), ("val", 3)):
        for label, name in enumerate(("ant", "bee", "cat")):
            for number in range(count):
                mode, image_format = FILES[(3 * label + number) % len(FILES)]
                path = root / split / name / f"{number}.{image_format.lower()}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded(mode, image_format))
    return root


@pytest.fixture(scope="module", params=MEANS)
def model_of(request, tmp_path_factory):
    """Number of channels, a model's folder, and the model."""
    torch.manual_seed(0)
    num_channels = request.param
    small = {"depths": [1], "hidden_sizes": [16], "embedding_size": 8}
    model = as_if_trained(
        ResNet50ForImageClassification(ResNet50Config(**small, num_labels=3, num_channels=num_channels))
    )
    folder = tmp_path_factory.mktemp("model")
    processor = image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", MEANS[num_channels], STDS[num_channels]))
    save_model_and_processor(folder, model, processor)
    return num_channels, folder, model


@pytest.mark.parametrize("num_channels", MEANS)
def test_training_runs_to_a_model_and_its_card(num_channels, folder_of, tmp_path, train):
    overrides = {**TINY, "num_channels": num_channels}
    augmented = {"auto_augment": "randaugment", "color_jitter": 0.4} if num_channels == 1 else {}
    train(tiny_arguments(
        folder_of, tmp_path / "run", config_overrides=json.dumps(overrides), image_mean=MEANS[num_channels],
        image_std=STDS[num_channels], random_erasing=0.5, mixup_alpha=0.2, dataloader_num_workers=1,
        num_train_epochs=1, warmup_epochs=0, **augmented,
    ))  # fmt: skip
    model, processor = load_model(str(tmp_path / "run" / "best"))
    assert model.config.num_channels == num_channels == len(processor.image_mean)
    assert Image.open(tmp_path / "run" / "first_batch.png").mode == "RGB"
    card = (tmp_path / "run" / "best" / "README.md").read_text()
    line = next(line for line in card.splitlines() if line.startswith("pixel_values = processor("))
    names = {"Image": Image, "processor": AutoImageProcessor.from_pretrained(tmp_path / "run" / "best")}
    (tmp_path / "image.jpg").write_bytes(encoded("RGB", "JPEG"))
    exec(line.replace("image.jpg", str(tmp_path / "image.jpg")), names)
    assert model(names["pixel_values"]).logits.shape == (1, 3)
    assert "pipeline(" not in card
    main(["inspect", str(tmp_path / "run"), "--samples", "4", "--output", str(tmp_path / "page")])
    assert (tmp_path / "page" / "samples.png").exists()


@pytest.mark.parametrize("augmentation", ["randaugment", "trivialaugment", "autoaugment", "augmix"])
def test_every_augmentation_keeps_grey_images_grey(augmentation):
    recipe = Recipe(
        config_overrides={"num_channels": 1}, image_mean=[0.5], image_std=[0.2], auto_augment=augmentation,
        color_jitter=0.4, random_erasing=1.0, image_size=32,
    )  # fmt: skip
    transform = TrainingTransform(recipe)
    for seed in range(30):
        torch.manual_seed(seed)
        pixels = transform(decode_image(encoded("RGB", "JPEG"), 1))
        assert (pixels.shape, pixels.dtype) == ((1, 32, 32), torch.uint8)


def by_hand(model, data: bytes, num_channels: int) -> list[float]:
    """By Pillow and torchvision."""
    image = v2.CenterCrop(32)(v2.Resize(32)(Image.open(io.BytesIO(data)).convert(MODES[num_channels])))
    mean, std = (torch.tensor(values[num_channels])[:, None, None] for values in (MEANS, STDS))
    with torch.no_grad():
        return model(((pil_to_tensor(image) / 255 - mean) / std)[None]).logits.softmax(-1)[0].tolist()


def test_predict_evaluate_inspect_demo_and_processor_agree_with_pillow(
    model_of, folder_of, tmp_path, remote_code, capsys
):
    num_channels, folder, model = model_of
    photos = sorted((folder_of / "val").rglob("*.*"))
    main(["predict", str(folder), *map(str, photos), "--json"])
    for photo, line in zip(photos, capsys.readouterr().out.splitlines(), strict=True):
        found = {row["label"]: row["score"] for row in json.loads(line)["predictions"]}
        expected = by_hand(model, photo.read_bytes(), num_channels)
        assert [found[f"LABEL_{index}"] for index in range(3)] == pytest.approx(expected, abs=1e-5), photo
    arguments = ["--dataset", str(folder_of), "--num_workers", "0", "--output", str(tmp_path / "out")]
    main(["evaluate", str(folder), *arguments])
    (result,) = json.loads((tmp_path / "out" / "results.json").read_text())["models"].values()
    right = sum(
        np.argmax(by_hand(model, photo.read_bytes(), num_channels)) == ("ant", "bee", "cat").index(photo.parent.name)
        for photo in photos
    )
    assert result["top1"]["value"] == pytest.approx(right / 9)
    main(["inspect", str(folder), "--images", str(photos[0]), "--output", str(tmp_path / "page")])
    asked = app.open_classifier(str(folder))
    photo = next(photo for photo in photos if photo.suffix == ".jpeg")
    pixel_values = asked.pixel_values(Image.open(photo))
    assert asked.scores(pixel_values) == pytest.approx(by_hand(model, photo.read_bytes(), num_channels), abs=0.01)
    assert asked.picture(pixel_values).mode == MODES[num_channels]


def test_onnx_and_int8_files_are_written_measured_and_asked(model_of, folder_of, tmp_path, capsys):
    num_channels, folder, model = model_of
    options = ["--format", "onnx", "--int8", "--dataset", str(folder_of), "--num_workers", "0"]
    main(["export", str(folder), str(tmp_path / "onnx"), *options])
    assert "calibrated on 18" in capsys.readouterr().out
    pixel_values = torch.randn(2, num_channels, 32, 32)
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "onnx" / "model.onnx")
    (logits,) = session.run(None, {"pixel_values": pixel_values.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), model(pixel_values).logits, rtol=1e-4, atol=1e-4)
    photo = next((folder_of / "val").rglob("*.jpeg"))
    for name in ("model.onnx", "model_quantized.onnx"):
        main(["predict", str(tmp_path / "onnx" / "onnx" / name), str(photo), "--json"])
        found = {row["label"]: row["score"] for row in json.loads(capsys.readouterr().out)["predictions"]}
        expected = by_hand(model, photo.read_bytes(), num_channels)
        tolerance = 1e-4 if name == "model.onnx" else 0.2
        assert [found[f"LABEL_{index}"] for index in range(3)] == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("num_channels", MEANS)
def test_timms_in_chans_is_opened_imported_and_learned_from(num_channels, tmp_path):
    """Its three means become their average for each channel, as in timm's own loader."""
    model = as_if_trained(timm.create_model("resnet18", layers=(1, 1, 1, 1), num_classes=3, in_chans=num_channels))
    arguments = {"layers": (1, 1, 1, 1), "in_chans": num_channels}
    timm.models.save_for_hf(model, tmp_path / "timm", model_args=arguments)
    average = pytest.approx((np.mean([0.485, 0.456, 0.406]),) * num_channels)
    assert open_classifier(str(tmp_path / "timm")).preprocessing.image_mean == average
    main(["import", str(tmp_path / "timm"), str(tmp_path / "ours")])
    pixel_values = torch.randn(1, num_channels, 64, 64)
    opened = open_classifier(str(tmp_path / "ours"))
    with torch.no_grad():
        torch.testing.assert_close(opened.model(pixel_values=pixel_values).logits, model(pixel_values))
    again = timm.create_model(f"local-dir:{tmp_path / 'ours'}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(pixel_values), model(pixel_values))
    assert tuple(load_teacher(str(tmp_path / "timm"))[1]) == average
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    assert import_model(str(tmp_path / "bare.pth")).preprocessing.image_mean == average


@pytest.mark.parametrize("num_channels", [2, 5])
def test_other_numbers_are_one_error_before_anything_starts(num_channels, folder_of, tmp_path, train, capsys):
    statistics = [0.5] * num_channels
    overrides = json.dumps({**TINY, "num_channels": num_channels})
    arguments = tiny_arguments(
        folder_of, tmp_path / "run", config_overrides=overrides, image_mean=statistics, image_std=statistics
    )
    with pytest.raises(UserError, match=rf"must be 1 \(grey\), 3 \(RGB\) or 4 \(RGBA\), got {num_channels}"):
        train(arguments)
    assert not (tmp_path / "run").exists()
    model = ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3, num_channels=num_channels))
    save_model_and_processor(
        tmp_path / "model", model, image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", statistics, statistics))
    )
    for command in (["evaluate", "--dataset", "digits"], ["predict", "--", "photo.png"], ["inspect"], ["demo"]):
        with pytest.raises(SystemExit):
            main([command[0], str(tmp_path / "model"), *command[1:]])
        error = capsys.readouterr().err
        assert f"has {num_channels} channels; images are read with 1 (grey), 3 (RGB) or 4 (RGBA)" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"config_overrides": {"num_channels": 1}}, r"needs one number for each channel \(1\), got \[0.485"),
        ({"image_mean": [0.5], "image_std": [0.5]}, r"needs one number for each channel \(3\), got \[0.5"),
        ({"config_overrides": {"num_channels": 4}, "image_mean": [0.5] * 4, "image_std": [0.5] * 4,
          "color_jitter": 0.4}, "are for images of 1 or 3 channels, and these have 4"),
    ],
)  # fmt: skip
def test_a_recipe_whose_statistics_or_augmentations_do_not_fit_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Recipe(**settings)


def test_training_starts_from_and_learns_from_models_of_its_own_channels_only(model_of):
    num_channels, folder, model = model_of
    settings = {"image_mean": MEANS[num_channels], "image_std": STDS[num_channels], "teacher": str(folder)}
    recipe = Recipe(model_name_or_path=str(folder), config_overrides={"num_channels": num_channels}, **settings)
    assert torch.equal(starting_model(recipe, ["a", "b", "c"]).conv1.weight, model.conv1.weight)
    pixel_values = torch.randn(2, num_channels, 32, 32)
    with torch.no_grad():
        learned = Teacher(*load_teacher(str(folder)), recipe, 3)(pixel_values)
        torch.testing.assert_close(learned, model(pixel_values).logits, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match=f"takes images of {num_channels} channels, the recipe has 3: set"):
        starting_model(Recipe(model_name_or_path=str(folder)), ["a", "b", "c"])
    with pytest.raises(UserError, match=f"takes images of {num_channels} channels, the recipe has 3"):
        Teacher(*load_teacher(str(folder)), Recipe(teacher=str(folder)), 3)


def test_a_processor_of_other_channels_than_its_model_is_said(tmp_path):
    ResNetForImageClassification(ResNetConfig(**TINY, num_labels=3, num_channels=1)).save_pretrained(tmp_path)
    image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", [0.5] * 3, [0.5] * 3)).save_pretrained(tmp_path)
    for opening in (open_classifier, import_model):
        with pytest.raises(UserError, match="takes images of 1 channels, but its processor has image_mean"):
            opening(str(tmp_path))


def test_a_plan_counts_the_channels(capsys):
    grey = ["--config_overrides", '{"num_channels": 1}', "--image_mean", "0.5", "--image_std", "0.5"]
    parameters = []
    for options in ([], grey):
        main(["plan", str(PROJECT / "recipes" / "imagenet1k.yaml"), "--num_processes", "1", "--json", *options])
        parameters.append(json.loads(capsys.readouterr().out)["parameters"])
    assert parameters == [25_557_032, 25_557_032 - 2 * 64 * 7 * 7]


@pytest.mark.parametrize("kind", ["--static_space"])
def test_a_page_in_the_browser_takes_rgb_only(kind, model_of, tmp_path, capsys):
    _, folder, _ = model_of
    with pytest.raises(SystemExit):
        main(["publish", str(folder), kind, str(tmp_path / "space")])
    assert "a page in the browser takes RGB" in capsys.readouterr().err
