"""Images are prepared for evaluation as the reference implementations do it, to the pixel."""

import io
from argparse import Namespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from conftest import PROJECT, TINY, as_if_trained
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data import create_transform
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.functional import InterpolationMode
from torchvision.transforms.v2.functional import pil_to_tensor
from transformers import ConvNextImageProcessor, ViTImageProcessor

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.commands.evaluation_data import protocol, set_protocol
from modeling_resnet50.data.transforms import decode_image, evaluation_transform
from modeling_resnet50.errors import UserError
from modeling_resnet50.hub.importing import as_bit_processor, timm_processor
from modeling_resnet50.hub.model_folder import image_processor


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
IMAGENET_SAMPLES = PROJECT.parent / "shared" / "data" / "imagenet_samples" / "validation.parquet"
SETTINGS = [(256, 224, "bilinear"), (232, 224, "bilinear"), (235, 224, "bicubic"), (182, 160, "bicubic")]
NOTHING = {"image_size": None, "crop_ratio": None, "interpolation": None}


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
    ours, transform = evaluation_transform(*settings), reference(*settings)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    pixel_values = torch.stack([(ours(decode_image(data)).float() / 255 - mean) / std for data in encoded])
    expected = torch.stack([transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in encoded])
    with torch.no_grad():
        logits, expected_logits = model(pixel_values).logits, model(expected).logits
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=1e-4)


def test_the_decoder_costs_nothing_its_pixels_are_pils(encoded):
    for data in encoded:
        assert torch.equal(decode_image(data), pil_to_tensor(Image.open(io.BytesIO(data)).convert("RGB")))


def test_transformers_processor_is_one_grey_level_and_one_pixel_off_at_most(encoded):
    """It resizes tensors, and rounds the margin down where torchvision, timm and we round it to the nearest pixel."""
    processor = image_processor(224, 224 / 235.5, "bilinear", [0.0] * 3, [1.0] * 3)
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
        ours = evaluation_transform(235, 224, "bilinear")(decode_image(data)).int()
        cut = ours[:, : 224 - down, : 224 - right]
        assert (cut - theirs[:, down:, right:]).abs().max() <= 1
    assert margins >= {(1, 0), (1, 1)}  # both kinds were met


def options(**given):
    return Namespace(**{**NOTHING, **given})


@pytest.mark.parametrize("crop_size", [17, 160, 224, 288])
def test_a_processor_is_read_to_the_pixel_whatever_its_sizes(crop_size):
    for resize_size in range(crop_size, 3 * crop_size):
        processor = image_processor(crop_size, crop_size / (resize_size + 0.5), "bicubic", MEAN, STD)
        copy = as_bit_processor(processor, "it")
        set_protocol(copy, options())
        assert protocol(copy) == (resize_size, crop_size, "bicubic")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"image_size": 288}, (329, 288, "bilinear")),  # timm: floor(288 / 0.875)
        ({"crop_ratio": 0.95}, (235, 224, "bilinear")),
        ({"image_size": 288, "crop_ratio": 1.0}, (288, 288, "bilinear")),
        ({"interpolation": "bicubic"}, (256, 224, "bicubic")),
    ],
)
def test_the_protocol_can_be_overridden(given, expected):
    processor = image_processor(224, 0.875, "bilinear", MEAN, STD)
    set_protocol(processor, options(**given))
    assert protocol(processor) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [({"crop_ratio": 1.2}, "--crop_ratio must be above 0 and at most 1"), ({"image_size": 0}, "--image_size must")],
)
def test_sizes_that_make_no_sense_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        set_protocol(image_processor(224, 0.875, "bilinear", MEAN, STD), options(**given))


def test_a_convnext_processor_means_the_short_side_by_its_ratio(encoded):
    processor = ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875, resample=3)
    assert protocol(as_bit_processor(processor, "it")) == (256, 224, "bicubic")


@pytest.mark.parametrize(
    "processor", [ViTImageProcessor(), ConvNextImageProcessor(size={"shortest_edge": 384}, crop_pct=0.875)], ids=repr
)
def test_a_processor_that_squeezes_images_is_refused(processor):
    with pytest.raises(UserError, match="does not resize the short side and crop the centre"):
        as_bit_processor(processor, "it")


def test_timms_resnet50_is_prepared_as_timm_says():
    network = timm.create_model("resnet50.a1_in1k", pretrained=False)
    data = timm.data.resolve_model_data_config(network, use_test_size=True)
    processor = timm_processor(network, "it")
    image = Image.fromarray(np.asarray(load_sample_images().images[0]))
    theirs = create_transform(**{**data, "mean": [0.0] * 3, "std": [1.0] * 3})(image)
    ours = evaluation_transform(*protocol(processor))(pil_to_tensor(image))
    assert torch.equal(ours, (theirs * 255).round().to(torch.uint8))
