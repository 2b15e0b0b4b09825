"""Exported files that take photos: the pixels that Pillow prepares, and the probabilities of the model."""

import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from shared import TINY, as_if_trained, with_spread_logits
from torchvision.transforms import InterpolationMode, v2

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.agreement import made_up_photos
from modeling_resnet50.hub.image_graph import ImagePreparation, prepared_by_pillow
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.hub.runtimes import import_openvino
from resnet50_cli import main


openvino = import_openvino()

SMALL = {**TINY, "depths": [1], "hidden_sizes": [16]}  # each block is traced again, for each file
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# Odd rests, sides that are resized by nothing, and pictures smaller than the square or thin as a hair.
SHAPES = [(75, 100), (100, 75), (67, 100), (64, 64), (20, 30), (1, 7), (73, 128), (128, 73), (64, 199), (30, 300)]
SIZES = [(73, 64), (64, 64), (50, 64)]  # to resize to, to crop


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def by_pillow(pixels, resize_size, image_size, interpolation, crop_mode):
    """The square, uint8, by Pillow and torchvision, and as timm has it where shapes change or margins are added."""
    image, filter_ = Image.fromarray(pixels), InterpolationMode(interpolation)
    if crop_mode == "pad":  # timm's ResizeKeepRatio(longest=1) and CenterCropOrPad
        ratio = max(image.height / resize_size, image.width / resize_size)
        size = [max(1, round(side / ratio)) for side in (image.height, image.width)]
        image = v2.functional.resize(image, size, filter_)
        canvas = Image.new("RGB", (max(image.width, image_size), max(image.height, image_size)), (124, 116, 104))
        canvas.paste(image, ((canvas.width - image.width) // 2, (canvas.height - image.height) // 2))
        image = canvas
    else:
        size = [resize_size] if crop_mode == "center" else [resize_size, resize_size]
        image = v2.functional.resize(image, size, filter_)
    return np.asarray(v2.functional.center_crop(image, [image_size, image_size])).astype(int)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "pad"])
def test_the_square_is_pillows_to_a_level_whatever_the_shape(crop_mode, interpolation):
    unlike = []
    for sizes in SIZES:
        preparation = ImagePreparation(Preprocessing(*sizes, interpolation, MEAN, STD, crop_mode=crop_mode))
        for shape in SHAPES:
            pixels = noise(*shape)
            found = preparation.crop(torch.from_numpy(pixels)[None])[0].permute(1, 2, 0).numpy()
            difference = np.abs(found - by_pillow(pixels, *sizes, interpolation, crop_mode))
            assert difference.max() <= 1, (sizes, shape)
            unlike.append((difference > 0).mean())
    assert np.mean(unlike) < 0.01  # where a half is rounded the other way


def mean_and_std(num_channels):
    return (MEAN, STD) if num_channels == 3 else ([0.5] * num_channels, [0.25] * num_channels)


def save(folder, processor=None, num_channels=3, **fields):
    names = [f"class {label}" for label in range(5)]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    config = ResNet50Config(**{**TINY, **labels, "num_channels": num_channels, **fields})
    model = as_if_trained(ResNet50ForImageClassification(config))
    processor = image_processor(Preprocessing.by_ratio(64, 0.875, "bicubic", *mean_and_std(num_channels)))
    prepared = torch.cat([prepared_by_pillow(processor)(photo) for photo in made_up_photos(num_channels)])
    save_model_and_processor(folder, with_spread_logits(model, prepared), processor)
    return model


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("photos")
    model = save(root / "model", **SMALL)
    arguments = ["--with_preprocessing", "--topk", "3", "--fp16"]
    main(["export", str(root / "model"), str(root / "onnx"), "--format", "onnx", *arguments])
    return root, model


@torch.no_grad()
def expected(model, pixels):
    """Of one photo, by Pillow's preparation and the model in PyTorch."""
    square = torch.from_numpy(by_pillow(pixels, 73, 64, "bicubic", "center")).permute(2, 0, 1) / 255
    values = v2.functional.normalize(square, MEAN, STD)
    return model(values[None]).logits.softmax(-1)[0].numpy()


def session_of(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("name", "tolerance"), [("model_with_preprocessing", 2e-3), ("model_with_preprocessing_fp16", 5e-2)]
)
def test_a_file_answers_about_photos_of_any_size_as_the_model_does(written, name, tolerance):
    root, model = written
    session = session_of(root / f"onnx/onnx/{name}.onnx")
    seen = set()
    for photo in made_up_photos(3):
        probabilities, top, labels = session.run(None, {"images": photo[None].numpy()})
        reference = expected(model, photo.numpy())
        np.testing.assert_allclose(probabilities[0], reference, atol=tolerance)
        assert labels[0, 0] == reference.argmax()
        seen.add(int(labels[0, 0]))
        np.testing.assert_array_equal(top[0], np.sort(probabilities[0])[::-1][:3])
        np.testing.assert_array_equal(probabilities[0][labels[0]], top[0])
    assert len(seen) > 1


def test_openvino_prepares_photos_from_the_same_file_alike(written):
    root, model = written
    compiled = openvino.compile_model(
        root / "onnx/onnx/model_with_preprocessing.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for photo in made_up_photos(3):
        probabilities, _, labels = compiled([photo[None].numpy()]).values()
        reference = expected(model, photo.numpy())
        np.testing.assert_allclose(probabilities[0], reference, atol=2e-3)
        assert labels[0, 0] == reference.argmax()


def test_photos_of_one_size_may_come_together(written):
    root, model = written
    photos = np.stack([noise(80, 60, seed=seed) for seed in range(3)])
    probabilities = session_of(root / "onnx/onnx/model_with_preprocessing.onnx").run(
        ["probabilities"], {"images": photos}
    )[0]
    for found, photo in zip(probabilities, photos):
        np.testing.assert_allclose(found, expected(model, photo), atol=2e-3)


def test_files_hold_standard_operators_only_and_describe_themselves(written):
    root, _ = written
    for name in ("model_with_preprocessing", "model_with_preprocessing_fp16"):
        proto = onnx.load(root / f"onnx/onnx/{name}.onnx")
        onnx.checker.check_model(proto, full_check=True)
        assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
        assert {entry.domain: entry.version for entry in proto.opset_import}[""] == 23
        assert not proto.functions
        assert [value.name for value in proto.graph.input] == ["images"]
        about = {entry.key: entry.value for entry in proto.metadata_props}
        assert json.loads(about["id2label"])["3"] == "class 3"


def test_the_readme_states_what_was_measured_and_its_lines_run(written, monkeypatch):
    root, _ = written
    text = (root / "onnx/README.md").read_text()
    rows = re.findall(r"\| `onnx/(\S+)` \| at most (\d) apart \| on (\d+) of (\d+) \| at most (\S+) apart", text)
    assert [row[0] for row in rows] == ["model_with_preprocessing.onnx", "model_with_preprocessing_fp16.onnx"]
    for _, levels, same, images, difference in rows:
        assert int(levels) <= 1
        assert same == images == "8"
        assert 0 < float(difference) < 0.05
    monkeypatch.chdir(root / "onnx")
    Image.fromarray(noise(90, 120)).save("photo.jpg")
    names = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    assert names["probabilities"].shape == (1, 5)


def probabilities_by_hand(model, pixels):
    """By Pillow and torchvision, of a model that `save` wrote."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)
    image = v2.functional.center_crop(v2.functional.resize(image, [73], InterpolationMode.BICUBIC), [64, 64])
    values = v2.functional.normalize(v2.functional.pil_to_tensor(image) / 255, *mean_and_std(pixels.shape[-1]))
    with torch.no_grad():
        logits = model(values[None]).logits[0]
    return (logits.softmax(-1) if model.config.problem_type is None else logits.sigmoid()).numpy()


def test_the_program_of_torch_export_answers_alike_about_grey_photos(tmp_path):
    model = save(tmp_path / "model", num_channels=1, **SMALL, stem_type="cifar")
    arguments = ["--format", "pt2", "--with_preprocessing"]
    main(["export", str(tmp_path / "model"), str(tmp_path / "model.pt2"), *arguments])
    names = {"id2label": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=names).module()
    assert json.loads(names["id2label"])["4"] == "class 4"
    for shape in ((75, 100), (200, 133), (64, 64), (20, 30)):
        pixels = noise(*shape, 1)
        found = program(torch.from_numpy(pixels)[None])[0].numpy()
        np.testing.assert_allclose(found, probabilities_by_hand(model, pixels), atol=2e-3)


@pytest.mark.long
@pytest.mark.parametrize(
    ("num_channels", "fields"),
    [
        (1, {"layer_type": "basic"}),
        (4, {"stem_type": "deep", "avg_down": True}),
        (3, {"blur_pool": True, "problem_type": "multi_label_classification"}),
        (3, {"stem_type": "cifar", "global_pool": "catavgmax"}),
    ],
)
def test_any_channels_and_architecture_go_into_either_format(num_channels, fields, tmp_path):
    model = save(tmp_path / "model", num_channels=num_channels, **fields)
    pixels = noise(80, 100, num_channels)
    expected = probabilities_by_hand(model, pixels)
    for kind, out in (("onnx", tmp_path / "out"), ("pt2", tmp_path / "model.pt2")):
        main(["export", str(tmp_path / "model"), str(out), "--format", kind, "--with_preprocessing"])
    session = session_of(tmp_path / "out/onnx/model_with_preprocessing.onnx")
    np.testing.assert_allclose(session.run(None, {"images": pixels[None]})[0][0], expected, atol=2e-3)
    program = torch.export.load(tmp_path / "model.pt2").module()
    np.testing.assert_allclose(program(torch.from_numpy(pixels)[None])[0].numpy(), expected, atol=2e-3)


def test_rgba_and_other_architectures_go_too_and_are_measured_on_data(tmp_path, image_folder, capsys):
    fields = {"layer_type": "basic", "stem_type": "deep", "avg_down": True, "blur_pool": True}
    fields |= {"global_pool": "catavgmax", "problem_type": "multi_label_classification"}
    model = save(tmp_path / "model", num_channels=4, **fields)
    arguments = ["--format", "onnx", "--with_preprocessing", "--dataset", str(image_folder), "--json"]
    main(["export", str(tmp_path / "model"), str(tmp_path / "out"), *arguments])
    agreement = json.loads(capsys.readouterr().out)["agreement"]["model_with_preprocessing.onnx"]
    assert (agreement["images"], agreement["same_top1"]) == (15, 15)
    assert agreement["levels"] <= 1.01  # normalised and back
    assert f"15 images of {image_folder}" in (tmp_path / "out/README.md").read_text()
    pixels = noise(80, 100, 4)
    found = session_of(tmp_path / "out/onnx/model_with_preprocessing.onnx").run(None, {"images": pixels[None]})[0][0]
    np.testing.assert_allclose(found, probabilities_by_hand(model, pixels), atol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "transformers", "--with_preprocessing"], "--with_preprocessing is for --format onnx or pt2"),
        (["--format", "onnx", "--topk", "3"], "--topk goes with --with_preprocessing"),
        (["--format", "onnx", "--with_preprocessing", "--topk", "6"], "--topk must be between 1 and 5"),
        (["--format", "pt2", "--fp16"], "--fp16 is for --format onnx or openvino or coreml, and not for pt2"),
        (["--format", "pt2", "--int8"], "--int8 is for --format onnx, and not for pt2"),
        (["--format", "onnx", "--max_drop", "1"], "--max_drop goes with --int8"),
        (["--format", "onnx", "--int8", "--dataset", "digits", "--max_drop", "-1"], "--max_drop must be 0 or more"),
        (["--format", "executorch", "--dtype", "auto"], "--dtype auto is not for executorch"),
    ],
)
def test_what_does_not_go_together_is_a_line_and_leaves_nothing(written, arguments, message, tmp_path, capsys):
    root, _ = written
    with pytest.raises(SystemExit) as exit_:
        main(["export", str(root / "model"), str(tmp_path / "out"), *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_evaluate_is_told_which_file_to_take(written, capsys):
    root, _ = written
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", str(root / "onnx/onnx/model_with_preprocessing.onnx"), "--dataset", "digits"])
    assert exit_.value.code == 2
    assert "give the file without _with_preprocessing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "images", [np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.uint8)]
)
def test_an_odd_image_is_refused_by_the_runtime(written, images):
    root, _ = written
    with pytest.raises(Exception, match=r"(?i)unexpected input data type|invalid (dimensions|rank)"):
        session_of(root / "onnx/onnx/model_with_preprocessing.onnx").run(None, {"images": images})
