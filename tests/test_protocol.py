"""Images are prepared for evaluation as the reference implementations do it, to the pixel."""

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image, ImageOps
from shared import PROJECT, TINY, as_if_trained, tiny_arguments
from sklearn.datasets import load_sample_images
from timm.data import create_transform
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.functional import InterpolationMode
from torchvision.transforms.v2.functional import pil_to_tensor
from transformers import ConvNextImageProcessor

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.commands.evaluation_data import make_loader
from modeling_resnet50.commands.preparation import Preparation
from modeling_resnet50.commands.typed_options import Changes, Loading
from modeling_resnet50.data.decoding import EncodedImage, decode_image
from modeling_resnet50.data.pipeline import load_training_data
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.sources import load_evaluation_split
from modeling_resnet50.data.transforms import EvaluationTransform
from modeling_resnet50.hub.classifiers import open_classifier
from modeling_resnet50.hub.importing import import_model, timm_preprocessing
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe_file import parse_recipe


MEAN, STD = MEAN_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
IMAGENET_SAMPLES = PROJECT.parent / "shared" / "data" / "imagenet_samples" / "validation.parquet"
SETTINGS = [(256, 224, "bilinear"), (232, 224, "bilinear"), (235, 224, "bicubic"), (182, 160, "bicubic")]


def jpegs() -> list[bytes]:
    """scikit-learn's two photographs, in odd sizes; and real images of ImageNet, where they are at hand."""
    found = []
    for number, pixels in enumerate(load_sample_images().images):
        for size in ((300, 260), (257, 401), (640, 427)):
            buffer = io.BytesIO()
            Image.fromarray(pixels).resize(size).save(buffer, "JPEG", quality=90 + number)
            found.append(buffer.getvalue())
    if IMAGENET_SAMPLES.exists():
        found += [row["bytes"] for row in pq.read_table(IMAGENET_SAMPLES).column("image").to_pylist()[:12]]
    return found


@pytest.fixture(scope="module")
def encoded():
    return jpegs()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=10)))


def timms_transform(resize_size, crop_size, interpolation):
    crop_pct = crop_size / (resize_size + 0.5)  # timm rounds down
    settings = {"interpolation": interpolation, "crop_pct": crop_pct, "mean": MEAN, "std": STD}
    return create_transform((3, crop_size, crop_size), is_training=False, **settings)


def torchvisions_transform(resize_size, crop_size, interpolation):
    return ImageClassification(
        crop_size=crop_size,
        resize_size=resize_size,
        interpolation=InterpolationMode(interpolation),
        mean=MEAN,
        std=STD,
    )


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("reference", [timms_transform, torchvisions_transform])
def test_logits_are_those_after_the_references_transform(encoded, model, reference, settings):
    """Decoded by PIL there and by our decoder here: image by image the same logits."""
    ours, transform = EvaluationTransform(Preprocessing(*settings)), reference(*settings)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    pixel_values = torch.stack([(ours(decode_image(data)).float() / 255 - mean) / std for data in encoded])
    expected = torch.stack([transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in encoded])
    with torch.no_grad():
        logits, expected_logits = model(pixel_values).logits, model(expected).logits
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=1e-4)


def test_the_decoder_costs_nothing_its_pixels_are_pils(encoded):
    for data in encoded:
        assert torch.equal(decode_image(data), pil_to_tensor(Image.open(io.BytesIO(data)).convert("RGB")))


def held(orientation: int, image_format: str = "JPEG", size: tuple[int, int] = (300, 260)) -> bytes:
    """A photo whose EXIF data say how the camera was held."""
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(load_sample_images().images[0]).resize(size).save(buffer, image_format, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_tag_of_orientation_is_applied_as_by_pillow_or_ignored_as_by_timm_and_torchvision(image_format):
    """0 is in ImageNet as well, and means nothing."""
    for orientation in range(10):
        data = held(orientation, image_format)
        stored = Image.open(io.BytesIO(data)).convert("RGB")
        turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        if image_format != "TIFF":  # which Pillow turns by itself, so that nobody has it as it is stored
            assert (turned.size != stored.size) == (orientation in (5, 6, 7, 8))
        for choice, image in (("apply", turned), ("ignore", stored)):
            expected = pil_to_tensor(image)
            assert torch.equal(decode_image(data, exif_orientation=choice), expected)
            for decoder in ("simplejpeg", "nvimgcodec"):
                encoded = EncodedImage({"bytes": data, "path": None}, "it", decoder, exif_orientation=choice)
                assert encoded.shape == expected.shape
                assert torch.equal(encoded[:, 40:90, 100:110], expected[:, 40:90, 100:110])


@pytest.mark.parametrize("reference", [timms_transform, torchvisions_transform])
def test_ignored_orientation_gives_the_logits_of_timm_and_torchvision(model, reference):
    data, settings = held(6, size=(640, 427)), SETTINGS[0]
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    expected = reference(*settings)(Image.open(io.BytesIO(data)).convert("RGB"))[None]
    logits = {}
    with torch.no_grad():
        expected_logits = model(expected).logits
        for choice in ("apply", "ignore"):
            pixels = EvaluationTransform(Preprocessing(*settings))(decode_image(data, exif_orientation=choice))
            logits[choice] = model(((pixels.float() / 255 - mean) / std)[None]).logits
    torch.testing.assert_close(logits["ignore"], expected_logits, rtol=0, atol=1e-4)
    assert (logits["apply"] - expected_logits).abs().max() > 1e-3


def test_what_is_done_about_orientation_travels_with_the_model(tmp_path, model):
    (tmp_path / "val" / "a").mkdir(parents=True)
    (tmp_path / "val" / "a" / "photo.jpg").write_bytes(held(6))
    split = load_evaluation_split(str(tmp_path))
    for choice in ("apply", "ignore"):
        processor = image_processor(Preprocessing.by_ratio(32, 0.875, "bilinear", MEAN, STD, choice))
        save_model_and_processor(tmp_path / choice, model, processor)
        opened = open_classifier(str(tmp_path / choice)).preprocessing
        assert json.loads((tmp_path / choice / "preprocessor_config.json").read_text())["exif_orientation"] == choice
        assert opened.exif_orientation == choice
        assert import_model(str(tmp_path / choice)).preprocessing == opened
        seen = make_loader(split, [[(0, 0)]], Preparation(opened), torch.device("cpu"), Loading(1, 0))
        (batch,) = seen
        expected = EvaluationTransform(opened)(decode_image(held(6), exif_orientation=choice))
        mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
        torch.testing.assert_close(batch["pixel_values"][0], (expected / 255 - mean) / std)
        for other in ("apply", "ignore"):
            assert Changes(exif_orientation=other).applied_to(opened) == replace(opened, exif_orientation=other)


def test_a_recipe_decides_it_for_both_splits_and_for_the_model_that_is_saved(tmp_path, train):
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            (tmp_path / "images" / split / name / "photo.jpg").write_bytes(held(6))
    arguments = tiny_arguments(
        tmp_path / "images", tmp_path / "run", exif_orientation="ignore", num_train_epochs=1, total_train_batch_size=2
    )
    data = load_training_data(parse_recipe(arguments), torch.device("cpu"), 0, 0, 1)
    assert data.train_loader.batches.exif_orientation == "ignore"
    expected = EvaluationTransform(Preprocessing(18, 16, "bilinear"))(decode_image(held(6), exif_orientation="ignore"))
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    (batch,) = data.validation_loader
    torch.testing.assert_close(batch["pixel_values"][0], (expected / 255 - mean) / std)
    train(arguments)
    assert open_classifier(str(tmp_path / "run" / "best")).preprocessing.exif_orientation == "ignore"


def test_whose_processor_says_nothing_is_read_as_its_own_library_does():
    network = timm.create_model("resnet50.a1_in1k", pretrained=False)
    assert timm_preprocessing(network, "it").exif_orientation == "ignore"
    theirs = ConvNextImageProcessor(size={"shortest_edge": 224})
    assert Preprocessing.from_processor(theirs, "it").exif_orientation == "apply"
    odd = image_processor(Preprocessing(36, 32))
    odd.exif_orientation = "sideways"
    with pytest.raises(UserError, match="exif_orientation must be apply or ignore, got 'sideways'"):
        Preprocessing.from_processor(odd, "it")


def test_transformers_processor_is_one_grey_level_and_one_pixel_off_at_most(encoded):
    """It resizes tensors, and rounds the margin down where torchvision, timm and we round it to the nearest pixel."""
    processor = image_processor(Preprocessing.by_ratio(224, 224 / 235.5, "bilinear", [0.0] * 3, [1.0] * 3))
    margins = set()
    for data in encoded:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        theirs = (processor(image, return_tensors="pt").pixel_values[0] * 255).round().int()
        short, long = sorted(image.size)
        margin = int(235 * long / short) - 224
        shift = round(margin / 2) - margin // 2  # 1 where the margin is 3 mod 4
        short_shift = round((235 - 224) / 2) - (235 - 224) // 2
        down, right = (shift, short_shift) if image.height > image.width else (short_shift, shift)
        margins.add((down, right))
        ours = EvaluationTransform(Preprocessing(235, 224, "bilinear"))(decode_image(data)).int()
        cut = ours[:, : 224 - down, : 224 - right]
        assert (cut - theirs[:, down:, right:]).abs().max() <= 1
    assert margins >= {(1, 0), (1, 1)}  # both kinds were met


@pytest.mark.parametrize("crop_size", [17, 160, 224, 288])
def test_a_processor_is_read_to_the_pixel_whatever_its_sizes(crop_size):
    for resize_size in range(crop_size, 3 * crop_size):
        preprocessing = Preprocessing(resize_size, crop_size, "bicubic", MEAN, STD)
        assert Preprocessing.from_processor(image_processor(preprocessing), "it") == preprocessing
        assert Changes().applied_to(preprocessing) == preprocessing


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"image_size": 288}, (329, 288, "bilinear")),  # timm: floor(288 / 0.875)
        ({"crop_ratio": 0.95}, (235, 224, "bilinear")),
        ({"image_size": 288, "crop_ratio": 1.0}, (288, 288, "bilinear")),
        ({"interpolation": "bicubic"}, (256, 224, "bicubic")),
        ({"crop_mode": "pad"}, (256, 224, "bilinear", *MEAN_STD, "apply", "pad")),
    ],
)
def test_the_protocol_can_be_overridden(given, expected):
    assert Changes(**given).applied_to(Preprocessing(256, 224, "bilinear")) == Preprocessing(*expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"crop_ratio": 1.2}, "--crop_ratio must be above 0 and at most 1"), ({"image_size": 0}, "--image_size must")],
)
def test_sizes_that_make_no_sense_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        Changes(**given)


def test_a_convnext_processor_means_the_short_side_by_its_ratio():
    processor = ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875, resample=3)
    expected = Preprocessing(256, 224, "bicubic", processor.image_mean, processor.image_std)
    assert Preprocessing.from_processor(processor, "it") == expected


def test_timms_resnet50_is_prepared_as_timm_says():
    network = timm.create_model("resnet50.a1_in1k", pretrained=False)
    data = timm.data.resolve_model_data_config(network, use_test_size=True)
    image = Image.fromarray(np.asarray(load_sample_images().images[0]))
    theirs = create_transform(**{**data, "mean": [0.0] * 3, "std": [1.0] * 3})(image)
    ours = EvaluationTransform(timm_preprocessing(network, "it"))(pil_to_tensor(image))
    assert torch.equal(ours, (theirs * 255).round().to(torch.uint8))
