"""How images are prepared is one value, and whoever is told of it prepares the same pixels."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from shared import TINY, as_if_trained, tiny_arguments
from timm.data import create_transform
from torchvision.transforms.v2.functional import pil_to_tensor
from transformers import AutoImageProcessor, BitImageProcessor, ConvNextImageProcessor, ViTImageProcessor

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.commands.preparation import Preparation
from modeling_resnet50.data.decoding import decode_image
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.transforms import EvaluationTransform
from modeling_resnet50.hub.classifiers import open_classifier
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_cli import main
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


MEAN, STD = [0.48, 0.45, 0.40], [0.22, 0.23, 0.24]
MODES = {"center": "center", "squash": "squash", "pad": "border"}  # ours, and timm's names
# Wide, tall, square, smaller than the crop, very long; margins even and odd.
SIZES = [(101, 67), (43, 90), (64, 64), (20, 31), (61, 40), (300, 2)]


def picture(size: tuple[int, int], seed: int = 0, mode: str = "RGB") -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def whole(crop_mode: str, image_size: int = 33, resize_size: int = 33) -> Preprocessing:
    return Preprocessing(resize_size, image_size, "bicubic", MEAN, STD, "ignore", crop_mode)


def as_shown(preprocessing: Preprocessing, pixel_values: torch.Tensor) -> torch.Tensor:
    """Grey levels again, as whole numbers."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (preprocessing.image_mean, preprocessing.image_std))
    return ((pixel_values * std + mean) * 255).round().int()


@pytest.mark.parametrize("crop_mode", MODES)
@pytest.mark.parametrize("sizes", [(33, 33), (36, 33), (32, 32), (40, 32), (37, 32)], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_each_crop_mode_gives_the_very_pixels_of_timms(crop_mode, sizes, mode):
    channels = len(mode)
    mean, std = [*MEAN, 0.3][:channels], [*STD, 0.2][:channels]
    ours = Preprocessing(*sizes, "bicubic", mean, std, "ignore", crop_mode)
    theirs = create_transform(**ours.for_timm())
    assert ours.for_timm()["crop_mode"] == MODES[crop_mode]
    for number, size in enumerate(SIZES):
        image = picture(size, number, mode)
        if crop_mode == "pad" and size == (300, 2):
            with pytest.raises(ValueError, match="must be > 0"):  # timm rounds the short side to nothing
                theirs(image)
            continue
        found = EvaluationTransform(ours)(pil_to_tensor(image))
        assert torch.equal(found.int(), as_shown(ours, theirs(image))), size


def test_a_strip_is_padded_though_its_short_side_rounds_to_nothing():
    square = EvaluationTransform(whole("pad"))(pil_to_tensor(picture((300, 2))))
    rows = (square != torch.tensor([[[round(255 * mean)]] for mean in MEAN])).any(0).any(1)
    assert rows.nonzero().flatten().tolist() == [16]


def test_squash_and_pad_show_all_of_an_image_where_the_centre_loses_its_ends():
    """Red at the left end, blue at the right, nothing between."""
    pixels = torch.zeros(3, 40, 120, dtype=torch.uint8)
    pixels[0, :, :20], pixels[2, :, -20:] = 255, 255
    seen = {mode: EvaluationTransform(whole(mode))(pixels).amax((1, 2)).tolist() for mode in MODES}
    grey = [round(255 * mean) for mean in MEAN]
    assert seen["center"] == [0, 0, 0]
    assert min(seen["squash"][0], seen["squash"][2]) > 250
    assert min(seen["pad"][0], seen["pad"][2]) > 250
    padded = EvaluationTransform(whole("pad"))(pixels)
    assert padded[:, 0, 0].tolist() == padded[:, -1, -1].tolist() == grey  # 11 rows of picture amid 22 of margin
    assert (padded[:, 11:22] != torch.tensor(grey)[:, None, None]).any(0).all()
    assert (padded[:, :11] == torch.tensor(grey)[:, None, None]).all()


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
def test_transformers_processor_is_a_grey_level_off_at_most(crop_mode, tmp_path):
    """Where its margin is even; else it crops a pixel away."""
    ours = whole(crop_mode, 32, 36)
    image_processor(ours).save_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    for number, size in enumerate([(64, 64), (90, 90), (40, 50), (100, 36)]):
        image = picture(size, number)
        if crop_mode == "center" and (36 * max(size) // min(size) - 32) % 4 == 3:
            continue
        theirs = as_shown(ours, processor(image, return_tensors="pt").pixel_values[0])
        assert (EvaluationTransform(ours)(pil_to_tensor(image)).int() - theirs).abs().max() <= 1


def test_transformers_processor_pads_with_black():
    """What the documentation says of it: all of the image, in the same place or a pixel beside it, on black."""
    ours = whole("pad", 32, 32)
    image = picture((96, 48))
    theirs = as_shown(ours, image_processor(ours)(image, return_tensors="pt").pixel_values[0])
    found = EvaluationTransform(ours)(pil_to_tensor(image)).int()
    assert (found[:, 8:24] - theirs[:, 8:24]).abs().max() <= 1
    assert (theirs[:, :8] == 0).all()
    assert (found[:, :8] == torch.tensor(ours.margin_colour)[:, None, None]).all()
    again = Preparation(ours, "transformers")  # --protocol transformers is what transformers does
    assert (again.crop(pil_to_tensor(image)).int() - theirs).abs().max() <= 1


@pytest.mark.parametrize("crop_mode", MODES)
@pytest.mark.parametrize("sizes", [(256, 224), (224, 224), (35, 29), (97, 32)], ids=str)
def test_every_form_gives_the_value_back(crop_mode, sizes):
    value = Preprocessing(*sizes, "bicubic", MEAN, STD, "ignore", crop_mode)
    assert Preprocessing.from_processor(image_processor(value), "it") == value
    assert Preprocessing.from_timm(value.for_timm(), "it") == value
    assert Preprocessing.from_exported(json.loads(json.dumps(value.exported()))) == value
    assert (
        Preprocessing.by_ratio(value.image_size, value.crop_ratio, "bicubic", MEAN, STD, "ignore", crop_mode) == value
    )
    assert set(value.as_result().items()) <= set(vars(value).items())


def test_a_recipe_says_it_for_validation():
    settings = {"image_mean": MEAN, "image_std": STD, "exif_orientation": "ignore", "interpolation": "bicubic"}
    recipe = Recipe(image_size=128, eval_image_size=160, eval_crop_ratio=0.9, crop_mode="squash", **settings)
    assert Preprocessing.from_recipe(recipe) == Preprocessing(177, 160, "bicubic", MEAN, STD, "ignore", "squash")
    assert Preprocessing.from_recipe(Recipe()) == Preprocessing(256, 224)


def test_files_that_were_exported_before_say_center_by_saying_nothing():
    stated = {"resize_short_side": 40, "crop_size": 32, "interpolation": "bilinear", "mean": MEAN, "std": STD}
    assert Preprocessing.from_exported(stated) == Preprocessing(40, 32, "bilinear", MEAN, STD)
    assert "resize_short_side" not in whole("pad").exported()  # whoever knows no other way stops


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (ViTImageProcessor(size={"height": 96, "width": 96}), (96, 96, "squash")),
        (ConvNextImageProcessor(size={"shortest_edge": 384}, crop_pct=0.875), (384, 384, "squash")),
        (ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875), (256, 224, "center")),
        (BitImageProcessor(size={"height": 64, "width": 64}, crop_size=48), (64, 48, "squash")),
    ],
)
def test_processors_of_others_are_read_and_give_the_same_pixels(processor, expected):
    value = Preprocessing.from_processor(processor, "it")
    assert (value.resize_size, value.image_size, value.crop_mode) == expected
    image = pil_to_tensor(picture((120, 80)))
    theirs, ours = (p(image, return_tensors="pt").pixel_values for p in (processor, image_processor(value)))
    torch.testing.assert_close(theirs, ours)


@pytest.mark.parametrize(
    "processor",
    [
        BitImageProcessor(size={"height": 64, "width": 48}),
        BitImageProcessor(size={"max_height": 32, "max_width": 32}, crop_size=32),  # nobody says that margins be grey
        BitImageProcessor(crop_size={"height": 224, "width": 200}),
        BitImageProcessor(do_normalize=False),
        BitImageProcessor(rescale_factor=1.0),
        BitImageProcessor(resample=0),
    ],
    ids=["two sizes", "black margins", "no square", "not normalised", "0 to 255", "nearest"],
)
def test_what_a_processor_does_beyond_that_is_refused(processor):
    with pytest.raises(UserError, match=r"it: its BitImageProcessor\w* does not resize, crop the centre"):
        Preprocessing.from_processor(processor, "it")


@pytest.mark.parametrize(
    "given", [{"interpolation": "nearest"}, {"exif_orientation": "sideways"}, {"crop_mode": "border"}], ids=str
)
def test_what_there_is_not_is_named(given):
    (name,) = given
    with pytest.raises(UserError, match=f"{name} must be .* or .*, got {given[name]!r}"):
        Preprocessing(32, 32, **given)
    with pytest.raises(UserError, match="it prepares its images by"):
        Preprocessing.from_timm(whole("pad").for_timm() | {"crop_mode": "corner"}, "it")


# From a recipe to whoever opens the model


@pytest.fixture(scope="module", params=MODES)
def crop_mode(request):
    return request.param


@pytest.fixture(scope="module")
def folder(crop_mode, tmp_path_factory):
    """A model that timm can open, for whole pictures of any shape."""
    torch.manual_seed(0)
    small = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 64], "embedding_size": 64}
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**small, num_labels=3)))
    torch.nn.init.normal_(model.fc.weight, std=0.3)  # so that scores differ
    folder = tmp_path_factory.mktemp(crop_mode) / "model"
    save_model_and_processor(folder, model, image_processor(whole(crop_mode)))
    return folder


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    picture((101, 67), 5).save(path)
    return path


def scores(folder, photo, capsys, *options) -> list[float]:
    capsys.readouterr()
    main(["predict", str(folder), str(photo), "--json", *options])
    answers = json.loads(capsys.readouterr().out)["predictions"]
    return [row["score"] for row in sorted(answers, key=lambda row: row["label"])]


def reference(folder, photo) -> list[float]:
    """By timm's own model and transform, of what config.json tells it."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = create_transform(**timm.data.resolve_model_data_config(model))
    with torch.no_grad():
        return model(transform(Image.open(photo))[None])[0].softmax(-1).tolist()


def test_timm_and_predict_see_the_same_pixels_and_so_does_whoever_imports_it(
    folder, crop_mode, photo, tmp_path, capsys
):
    expected = reference(folder, photo)
    assert scores(folder, photo, capsys) == pytest.approx(expected, abs=1e-5)
    main(["import", str(folder), str(tmp_path / "imported")])
    assert scores(tmp_path / "imported", photo, capsys) == pytest.approx(expected, abs=1e-5)
    others = [scores(folder, photo, capsys, "--crop_mode", other) for other in MODES if other != crop_mode]
    assert all(np.abs(np.subtract(other, expected)).max() > 1e-3 for other in others)


def test_an_exported_model_sees_the_same_pixels(photo, tmp_path, capsys):
    """Padded: an export takes seconds, and the others would go the same way."""
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3)))
    torch.nn.init.normal_(model.fc.weight)  # so that scores differ
    save_model_and_processor(tmp_path / "model", model, image_processor(whole("pad")))
    main(["export", str(tmp_path / "model"), str(tmp_path / "onnx"), "--format", "onnx"])
    assert open_classifier(str(tmp_path / "onnx")).preprocessing == whole("pad")
    expected = scores(tmp_path / "model", photo, capsys)
    assert scores(tmp_path / "onnx", photo, capsys) == pytest.approx(expected, abs=1e-4)
    assert scores(tmp_path / "model", photo, capsys, "--crop_mode", "squash") != pytest.approx(expected, abs=1e-3)


def test_the_pages_server_sees_the_same_pixels(folder, photo):
    app = pytest.importorskip("modeling_resnet50.hub.spaces.gradio_space.app")
    preprocessing = open_classifier(str(folder)).preprocessing
    found = app.open_classifier(str(folder)).pixel_values(Image.open(photo))[0]
    ours = EvaluationTransform(preprocessing)(decode_image(photo.read_bytes())).int()
    difference = (as_shown(preprocessing, found) - ours).abs().max()
    assert difference <= (0 if preprocessing.crop_mode == "pad" else 1)  # it resizes by Pillow there


def test_what_predict_is_asked_for_stands_in_place_of_the_models_own(folder, photo, capsys):
    model = open_classifier(str(folder)).model
    for other in MODES:
        preparation = Preparation(whole(other))
        with torch.no_grad():
            pixel_values = preparation.normalize(preparation.crop(decode_image(photo.read_bytes()))[None])
            expected = model(pixel_values=pixel_values).logits[0].softmax(-1).tolist()
        assert scores(folder, photo, capsys, "--crop_mode", other) == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("without_pages")
@pytest.mark.parametrize("mode", ["squash", "pad"])
def test_a_run_validates_by_it_and_its_model_carries_it(mode, image_folder, tmp_path, train, capsys):
    arguments = tiny_arguments(
        image_folder, tmp_path / "run", crop_mode=mode, eval_crop_ratio=1.0, num_train_epochs=1, report_to="none"
    )
    train(arguments)
    expected = Preprocessing.by_ratio(16, 1.0, crop_mode=mode)
    best = tmp_path / "run" / "best"
    assert open_classifier(str(best)).preprocessing == expected
    processor = json.loads((best / "preprocessor_config.json").read_text())
    assert processor["crop_mode"] == mode
    assert json.loads((best / "config.json").read_text())["pretrained_cfg"]["crop_mode"] == MODES[mode]
    card = (best / "README.md").read_text()
    assert {"squash": "both sides resized", "pad": "margins of the mean colour"}[mode] in card
    assert ("**its margins are black**" in card) == (mode == "pad")
    assert ("### torchvision" in card) is False  # a tiny network is none of torchvision's
    out = tmp_path / "out"
    main(["evaluate", str(best), "--dataset", str(image_folder), "--num_workers", "0", "--output", str(out)])
    assert f"16 → 16 pixels, {mode}" in " ".join(capsys.readouterr().out.split())
    results = json.loads((out / "results.json").read_text())
    (result,) = results["models"].values()
    assert result["protocol"]["crop_mode"] == mode
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert result["loss"]["value"] == pytest.approx(rows[-1]["val_loss"], abs=1e-5)
