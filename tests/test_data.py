"""Every source ends as the same two columns; every image is seen when the seed says so."""

import http.server
import io
import multiprocessing
import os
import random
import select
import shutil
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as PILImage
from PIL import ImageFilter, ImageOps
from shared import run_python, write_image
from sklearn.datasets import load_digits
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor

from modeling_resnet50.data import pipeline
from modeling_resnet50.data.augmentation import TrainingTransform, three_augment
from modeling_resnet50.data.decoding import EncodedImage, decode_image
from modeling_resnet50.data.digits import digits
from modeling_resnet50.data.loader import PREFETCH_FACTOR, DeviceLoader, ImageBatches
from modeling_resnet50.data.pipeline import load_training_data
from modeling_resnet50.data.preprocessing import Preprocessing, resized
from modeling_resnet50.data.sampling import EvaluationSampler, TrainSampler, epoch_order, held_out, sample_seed
from modeling_resnet50.data.sources import load_evaluation_split, load_splits, load_train_and_validation
from modeling_resnet50.data.streaming import open_streamed_split
from modeling_resnet50.data.transforms import EvaluationTransform
from modeling_resnet50.prepare.processes import in_order
from resnet50_recipe.errors import UserError
from resnet50_recipe.training_arguments import TrainingArguments


def recipe_for(dataset_name, **fields) -> TrainingArguments:
    return TrainingArguments(
        dataset_name=str(dataset_name), **{"total_train_batch_size": 4, "image_size": 16, **fields}
    )


def encode(image: PILImage.Image, image_format: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def picture(width=50, height=40) -> PILImage.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return PILImage.fromarray(coarse).resize((width, height), PILImage.Resampling.BICUBIC)


# Sources


def test_digits_are_1437_and_360_real_images_and_always_the_same():
    train, validation = load_train_and_validation(recipe_for("digits"))
    assert (len(train), len(validation)) == (1437, 360)
    assert train.features["label"].names == [str(digit) for digit in range(10)]
    load_splits("digits").clear()  # a dictionary of our own
    again, _ = load_train_and_validation(recipe_for("digits", seed=7))
    digits.cache_clear()
    anew, _ = load_train_and_validation(recipe_for("digits", seed=8))
    assert train[:5] == again[:5] == anew[:5]
    assert not {row["bytes"] for row in train["image"]} & {row["bytes"] for row in validation["image"]}
    assert np.bincount(validation["label"][:]).min() >= 34


def test_digits_are_scikit_learns_in_the_order_of_a_stratified_split():
    known = load_digits()
    rows = {"place": list(range(1797)), "label": known.target.tolist()}
    features = Features(place=Value("int64"), label=ClassLabel(10))
    split = Dataset.from_dict(rows, features).train_test_split(0.2, stratify_by_column="label", seed=0)
    for part, places in zip(load_train_and_validation(recipe_for("digits")), split.values(), strict=True):
        assert part["label"][:] == places["label"][:]
        for image, place in zip(part["image"], places["place"]):
            pixels = PILImage.fromarray((known.images[place] * 255 / 16).round().astype(np.uint8))
            expected = pixels.resize((32, 32), PILImage.Resampling.BICUBIC).convert("RGB")
            assert np.array_equal(PILImage.open(io.BytesIO(image["bytes"])), expected)


def test_class_folders_give_paths_labels_and_sorted_class_names(image_folder):
    train, validation = load_train_and_validation(recipe_for(image_folder))
    assert (len(train), len(validation)) == (24, 15)
    assert train.features["label"].names == ["ant", "bee", "cat"]
    for row in (*train, *validation):
        assert os.path.basename(os.path.dirname(row["image"]["path"])) == ["ant", "bee", "cat"][row["label"]]


def test_folder_without_splits_can_hold_out_a_part_of_each_class(image_folder):
    train, validation = load_train_and_validation(recipe_for(image_folder / "train", train_val_split=0.25))
    assert (len(train), len(validation)) == (18, 6)
    assert np.bincount(validation["label"][:]).tolist() == [2, 2, 2]


def test_parquet_files_with_any_column_names_and_unnamed_labels(tmp_path):
    for split, count in (("train", 8), ("test", 4)):
        rows = {
            "picture": [{"bytes": encode(picture(20 + i)), "path": None} for i in range(count)],
            "kind": [0, 1] * (count // 2),
        }
        Dataset.from_dict(rows, features=Features({"picture": Image(), "kind": Value("int64")})).to_parquet(
            tmp_path / f"{split}.parquet"
        )
    with pytest.raises(UserError, match="0 label columns among picture, kind: name one with --label_column_name"):
        load_train_and_validation(recipe_for(tmp_path))
    train, validation = load_train_and_validation(recipe_for(tmp_path, label_column_name="kind"))
    assert train.column_names == ["image", "label"]
    assert train.features["label"].names == ["0", "1"]
    assert (len(train), len(validation)) == (8, 4)
    single = load_evaluation_split(str(tmp_path / "test.parquet"), label_column="kind")
    assert len(single) == 4


@pytest.mark.parametrize("kind", ["struct", "bytes", "large bytes"])
def test_files_in_a_column_are_images_though_no_metadata_says_so(tmp_path, kind):
    """As pandas writes them: `datasets` leaves its description of the columns in the file's metadata."""
    contents = [encode(picture(20 + number)) for number in range(4)]
    images = {
        "struct": pa.array([{"bytes": content, "path": None} for content in contents]),
        "bytes": pa.array(contents),
        "large bytes": pa.array(contents, pa.large_binary()),
    }[kind]
    rows = pa.table({"name": list("abcd"), "photo": images, "label": ["ant", "bee"] * 2})
    pq.write_table(rows, tmp_path / "train.parquet")
    split = load_evaluation_split(str(tmp_path))
    assert split.features["label"].names == ["ant", "bee"]
    assert [PILImage.open(io.BytesIO(image["bytes"])).width for image in split["image"]] == [20, 21, 22, 23]


def test_unlabelled_split_is_refused(tmp_path):
    rows = {"image": [{"bytes": encode(picture()), "path": None}] * 4, "label": [-1] * 4}
    features = Features({"image": Image(), "label": ClassLabel(names=["a", "b"])})
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(UserError, match="4 images have no label"):
        load_evaluation_split(str(tmp_path))


def test_missing_folder_is_named():
    with pytest.raises(UserError, match=r"dataset_name ./no/such/folder: no such folder"):
        load_train_and_validation(recipe_for("./no/such/folder"))


def test_class_folders_without_images_are_named(tmp_path):
    (tmp_path / "train" / "ant").mkdir(parents=True)
    with pytest.raises(UserError, match="1 class folder but no images"):
        load_train_and_validation(recipe_for(tmp_path))


def test_one_empty_class_folder_is_named(image_folder):
    (image_folder / "train" / "dog").mkdir()
    with pytest.raises(UserError, match="no images in 1 of 4 class folders, first 'dog'"):
        load_train_and_validation(recipe_for(image_folder))


@pytest.mark.parametrize(("split", "where"), [("train", "validation"), ("val", "train")])
def test_class_missing_from_one_split_is_named(image_folder, split, where):
    write_image(image_folder / split / "dog" / "0.jpg", seed=1)
    with pytest.raises(UserError, match=f"1 missing from {where}, first 'dog'"):
        load_train_and_validation(recipe_for(image_folder))


@pytest.mark.parametrize("fields", [{}, {"train_val_split": 0.5}])
def test_one_class_is_refused(image_folder, fields):
    for path in (*image_folder.glob("*/bee"), *image_folder.glob("*/cat")):
        shutil.rmtree(path)
    with pytest.raises(UserError, match="there is one class only, 'ant', which would be the answer to everything"):
        load_train_and_validation(recipe_for(image_folder, **fields))


def test_missing_validation_split_says_what_to_do(image_folder):
    with pytest.raises(UserError, match=r"no validation split .*--train_val_split"):
        load_train_and_validation(recipe_for(image_folder / "train"))


def test_fewer_images_than_one_batch_is_an_error(image_folder):
    with pytest.raises(UserError, match="24 training images are fewer than one batch of 25: --total_train_b"):
        load_training_data(recipe_for(image_folder, total_train_batch_size=25), torch.device("cpu"), 0, 0, 1)


def test_hub_data_set_out_of_reach_says_how_to_get_it_and_what_runs_now(tmp_path):
    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, code = (403, "GatedRepo") if "gated" in self.path else (404, "RepoNotFound")
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", f"Access to this resource is restricted: {code}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *arguments):
            pass

    # One process for both: importing takes far longer than being refused.
    train_on_each = """
import runpy, sys
names, settings = sys.argv[1:3], sys.argv[3:]
for name in names:
    sys.argv = ["train.py", *settings, "--dataset_name", name]
    try:
        runpy.run_path("train.py", run_name="__main__")
    except SystemExit as exit:
        print("exit code", exit.code)
"""
    settings = [
        "--config",
        "recipes/imagenet1k.yaml",
        "--mixed_precision",
        "no",
        "--output_dir",
        str(tmp_path / "run"),
    ]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        result = run_python(
            ["-c", train_on_each, "ann/gated", "ann/nothing", *settings],
            HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}", HF_HUB_OFFLINE="0", HF_DATASETS_OFFLINE="0",
            HF_HOME=str(tmp_path / "hf"),
        )  # fmt: skip
    finally:
        server.shutdown()
    assert result.stdout.count("exit code 2") == 2, result.stderr
    gated, missing = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert "ann/gated is gated, and this account has no access yet" in gated
    assert "neither a local folder nor a data set on the Hub" in missing
    for line in (gated, missing):
        assert "hf auth login" in line
        assert "--config recipes/digits.yaml" in line


# Pixels


@pytest.mark.parametrize(
    "image",
    [picture(), picture().convert("L"), picture().convert("CMYK"), picture(51, 37)],
    ids=["rgb", "grey", "cmyk", "odd"],
)
def test_jpeg_decodes_to_pils_pixels(image):
    data = encode(image, quality=90)
    assert torch.equal(decode_image(data), pil_to_tensor(PILImage.open(io.BytesIO(data)).convert("RGB")))


def test_photo_is_turned_upright():
    exif = PILImage.Exif()
    exif[0x0112] = 6  # quarter turn
    data = encode(picture(50, 40), exif=exif)
    assert decode_image(data).shape == (3, 50, 40)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_other_formats_decode_as_pil_does(image_format):
    data = encode(picture(), image_format)
    assert torch.equal(decode_image(data), pil_to_tensor(PILImage.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("data", [b"", b"<html>", encode(picture())[:200], encode(picture(), "PNG")[:100]])
def test_damaged_image_raises(data):
    with pytest.raises((OSError, ValueError, SyntaxError)):
        decode_image(data)


def jpegs_of_all_kinds() -> list[bytes]:
    options = [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"restart_marker_blocks": 2}]
    images = [picture(), picture().convert("L"), picture(51, 37), picture(120, 90)]
    return [encode(image, quality=90, **option) for image in images for option in options]


@pytest.mark.parametrize("decoder", ["simplejpeg", "nvimgcodec"])
def test_a_part_decoded_alone_has_the_pixels_of_the_whole(decoder, monkeypatch):
    if decoder == "nvimgcodec":  # or what stands in for it would be compared with itself
        monkeypatch.delattr("modeling_resnet50.data.decoding._decode_plain_jpeg")
    rng = np.random.default_rng(0)
    for data in jpegs_of_all_kinds():
        whole = pil_to_tensor(PILImage.open(io.BytesIO(data)).convert("RGB"))
        image = EncodedImage({"bytes": data, "path": None}, "it", decoder)
        assert image.shape == whole.shape
        for _ in range(20):
            top, left = rng.integers(0, whole.shape[1] - 8), rng.integers(0, whole.shape[2] - 8)
            rows, columns = slice(top, top + rng.integers(1, 60)), slice(left, left + rng.integers(1, 60))
            assert torch.equal(image[:, rows, columns], whole[:, rows, columns])


@pytest.mark.parametrize("decoder", ["simplejpeg", "nvimgcodec"])
def test_what_no_jpeg_decoder_takes_comes_whole_from_pil(decoder):
    exif = PILImage.Exif()
    exif[0x0112] = 6
    for data in (encode(picture(), exif=exif), encode(picture().convert("CMYK")), encode(picture(), "PNG")):
        image = EncodedImage({"bytes": data, "path": None}, "it", decoder)
        assert not image.is_plain_jpeg
        assert image.shape == decode_image(data).shape
        assert torch.equal(image[:, 3:20, 5:30], decode_image(data)[:, 3:20, 5:30])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "random"])
@pytest.mark.parametrize("jitter", [0.0, 0.4])
def test_crop_and_flip_are_torchvisions_draw_by_draw(interpolation, jitter):
    recipe = TrainingArguments(image_size=24, train_interpolation=interpolation, random_flip=0.3, color_jitter=jitter)

    def crop(mode):
        return v2.RandomResizedCrop(24, (0.08, 1.0), (3 / 4, 4 / 3), v2.InterpolationMode(mode), antialias=True)

    crops = [crop(mode) for mode in ("bilinear", "bicubic")]
    first = v2.RandomChoice(crops) if interpolation == "random" else crop(interpolation)
    theirs = v2.Compose([first, v2.RandomHorizontalFlip(0.3), v2.ColorJitter(*[jitter] * 3)])
    ours = TrainingTransform(recipe)
    for seed, image in enumerate([picture(), picture(300, 20), picture(20, 300)] * 20):
        pixels = pil_to_tensor(image)
        torch.manual_seed(seed)
        expected = theirs(pixels)
        torch.manual_seed(seed)
        assert torch.equal(ours(pixels), expected)
        if ours.only_crops_and_flips:
            torch.manual_seed(seed)
            assert torch.equal(ours(pixels, ours.draw(pixels.shape)), expected)


def test_vertical_flips_are_torchvisions_draw_by_draw_and_turns_are_numpys():
    crop = v2.RandomResizedCrop(24, (0.08, 1.0), (3 / 4, 4 / 3), antialias=True)
    theirs = v2.Compose([crop, v2.RandomHorizontalFlip(0.3), v2.RandomVerticalFlip(0.6)])
    ours = TrainingTransform(TrainingArguments(image_size=24, random_flip=0.3, random_vertical_flip=0.6))
    turning = TrainingTransform(
        TrainingArguments(image_size=24, random_flip=0.3, random_vertical_flip=0.6, random_rotate_90=0.75)
    )
    pixels, turns = pil_to_tensor(picture()), []
    for seed in range(400):
        torch.manual_seed(seed)
        drawn = turning.draw(pixels.shape)
        turns.append(drawn.quarter_turns)
        if seed < 40:
            torch.manual_seed(seed)
            expected = theirs(pixels)
            torch.manual_seed(seed)
            assert torch.equal(ours(pixels), expected)
            turned = np.rot90(expected.numpy(), drawn.quarter_turns, (1, 2))
            assert np.array_equal(turning(pixels, drawn).numpy(), turned)
    assert turning.only_crops_and_flips
    assert np.allclose(np.bincount(turns) / 400, 0.25, atol=0.075)  # three standard deviations and more


def test_three_augment_is_deits_by_pillow():
    image = picture(60, 60)
    grey, solarised, blurred = (np.asarray(x, dtype=int) for x in (
        ImageOps.grayscale(image).convert("RGB"), ImageOps.solarize(image),
        image.filter(ImageFilter.GaussianBlur(1.2)),
    ))  # fmt: skip
    policy = three_augment(3, 60)
    to_grey, solarise, blur = policy.transforms
    pixels = pil_to_tensor(image)

    def difference(found, expected):
        return abs(found.permute(1, 2, 0).numpy().astype(int) - expected).max()

    assert difference(to_grey(pixels), grey) <= 1
    assert difference(solarise(pixels), solarised) == 0
    assert tuple(blur.sigma) == (0.1, 2.0)
    assert difference(v2.functional.gaussian_blur(pixels, blur.kernel_size, 1.2), blurred) <= 5
    assert policy.p == pytest.approx([1 / 3] * 3)
    assert three_augment(1, 5)(pixels[:1, :5, :5]).shape == (1, 5, 5)
    steps = TrainingTransform(TrainingArguments(auto_augment="three_augment", color_jitter=0.3)).steps(224)
    assert [type(step) for step in steps] == [v2.RandomChoice, v2.ColorJitter]


@pytest.mark.parametrize("decoder", ["simplejpeg", "nvimgcodec"])
@pytest.mark.parametrize("fields", [{}, {"auto_augment": "randaugment"}])
def test_a_batch_is_what_its_images_and_seeds_give_one_by_one(decoder, fields):
    files = [*jpegs_of_all_kinds(), encode(picture(), "PNG")]
    rows = {"image": [{"bytes": data, "path": None} for data in files], "label": [0] * len(files)}
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=["it"])})
    transform = TrainingTransform(TrainingArguments(image_size=16, **fields))
    batches = ImageBatches(Dataset.from_dict(rows, features=features), transform, seed=1, jpeg_decoder=decoder)
    batch = batches.__getitems__([(3, index) for index in range(len(files))])["pixel_values"]
    for index, data in enumerate(files):
        seed = sample_seed(1, 3, index)
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        assert torch.equal(batch[index], transform(decode_image(data)))


def test_a_decoder_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(pipeline, "nvimgcodec_is_installed", lambda: False)
    with pytest.raises(UserError, match="pip install nvidia-nvimgcodec"):
        load_training_data(recipe_for("digits", jpeg_decoder="nvimgcodec"), torch.device("cpu"), 0, 0, 1)


@pytest.mark.parametrize(("crop", "ratio", "resize"), [(224, 0.875, 256), (224, 0.95, 235), (288, 1.0, 288)])
def test_resize_follows_timms_rule(crop, ratio, resize):
    assert resized(crop, ratio) == resize


# Sampling and batches


def test_an_epoch_is_a_permutation_and_depends_on_seed_and_epoch_only():
    order = epoch_order(1, 2, 100)
    assert sorted(order) == list(range(100))
    assert (order == epoch_order(1, 2, 100)).all()
    assert not (order == epoch_order(1, 3, 100)).all()
    assert not (order == epoch_order(2, 2, 100)).all()


@pytest.mark.parametrize(("num_processes", "accumulation"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
def test_total_batches_are_the_same_however_they_are_split(num_processes, accumulation):
    samplers = [TrainSampler(50, 8, 0, accumulation, rank, num_processes) for rank in range(num_processes)]
    parts = [list(sampler) for sampler in samplers]
    assert [len(p) for p in parts] == [len(s) for s in samplers]
    seen = [sample for forward in zip(*parts) for part in forward for sample in part]
    assert seen == [(0, index) for index in epoch_order(0, 0, 50)[:48].tolist()]


@pytest.mark.parametrize("num_processes", [1, 2, 3, 7])
def test_evaluation_sees_each_image_once_with_a_ragged_end(num_processes):
    samplers = [EvaluationSampler(23, 4, rank, num_processes) for rank in range(num_processes)]
    seen = [index for sampler in samplers for batch in sampler for _, index in batch]
    assert sorted(seen) == list(range(23))
    assert all(len(list(sampler)) == len(sampler) for sampler in samplers)


def loader_for(recipe: TrainingArguments, dataset: Dataset, num_workers: int, epoch: int) -> DeviceLoader:
    sampler = TrainSampler(len(dataset), recipe.total_train_batch_size, recipe.seed)
    sampler.start(epoch)
    batches = ImageBatches(dataset, TrainingTransform(recipe), recipe.seed, jpeg_decoder=recipe.jpeg_decoder)
    return DeviceLoader(batches, sampler, torch.device("cpu"), recipe.image_mean, recipe.image_std, num_workers)


def test_augmentation_depends_on_seed_epoch_and_index_only(image_folder):
    recipe = recipe_for(image_folder)
    train, _ = load_train_and_validation(recipe)
    reference = list(loader_for(recipe, train, num_workers=0, epoch=1))
    torch.manual_seed(123)
    with_workers = loader_for(recipe, train, num_workers=2, epoch=0)
    list(with_workers)
    with_workers.sampler.start(1)  # the workers live on, and must notice
    for ours, theirs in zip(with_workers, reference, strict=True):
        assert torch.equal(ours["pixel_values"], theirs["pixel_values"])
        assert torch.equal(ours["labels"], theirs["labels"])
    other_epoch = list(loader_for(recipe, train, num_workers=0, epoch=2))
    assert not torch.equal(other_epoch[0]["pixel_values"], reference[0]["pixel_values"])


def test_loading_leaves_the_global_random_state_alone(image_folder):
    recipe = recipe_for(image_folder)
    train, _ = load_train_and_validation(recipe)
    before = torch.get_rng_state()
    list(loader_for(recipe, train, num_workers=0, epoch=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_are_normalised_as_totensor_and_normalize_do(image_folder):
    recipe = recipe_for(image_folder)
    _, validation = load_train_and_validation(recipe)
    batches = ImageBatches(validation, EvaluationTransform(Preprocessing(16, 16, "bilinear")))
    loader = DeviceLoader(batches, EvaluationSampler(15, 4), torch.device("cpu"), recipe.image_mean, recipe.image_std)
    batch = next(iter(loader))
    images = [pil_to_tensor(PILImage.open(row["image"]["path"])) for row in validation.select(range(4))]
    pixels = torch.stack([EvaluationTransform(Preprocessing(16, 16, "bilinear"))(image) for image in images])
    expected = v2.Normalize(recipe.image_mean, recipe.image_std)(
        v2.functional.to_dtype(pixels, torch.float32, scale=True)
    )
    torch.testing.assert_close(batch["pixel_values"], expected, rtol=0, atol=1e-6)
    assert batch["pixel_values"].is_contiguous(memory_format=torch.channels_last)
    assert batch["labels"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("num_workers", "decoder"), [(0, "simplejpeg"), (1, "simplejpeg"), (1, "nvimgcodec")])
def test_unreadable_image_is_named_when_it_is_met(image_folder, num_workers, decoder):
    bad = image_folder / "train" / "bee" / "3.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    recipe = recipe_for(image_folder, jpeg_decoder=decoder)
    train, _ = load_train_and_validation(recipe)
    with pytest.raises(UserError, match=r"unreadable image: .*train/bee/3.jpg \(row 11\)") as error:
        list(loader_for(recipe, train, num_workers, epoch=0))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_skipped_image_is_replaced_by_the_next_readable_one_and_counted(image_folder, num_workers):
    recipe = recipe_for(image_folder)
    train, _ = load_train_and_validation(recipe)
    order = [(1, 0), (1, 11), (1, 12)]
    stand_in = [(1, 0), (1, 13), (1, 12)]
    transform = TrainingTransform(recipe)
    expected = ImageBatches(train, transform, recipe.seed).__getitems__(stand_in)
    for name in ("bee/3", "bee/4"):  # rows 11 and 12
        (image_folder / "train" / f"{name}.jpg").write_bytes(b"not an image")
    batches = ImageBatches(train, transform, recipe.seed, on_bad_image="skip")
    batch = batches.__getitems__(order[:2])
    assert torch.equal(batch["pixel_values"], expected["pixel_values"][:2])
    assert batch["labels"].tolist() == expected["labels"][:2].tolist()
    settings = (torch.device("cpu"), recipe.image_mean, recipe.image_std, num_workers)
    loader = DeviceLoader(batches, [order[:2], order[2:]], *settings, max_bad_images=2)
    for _ in range(2):  # counted anew in each pass
        list(loader)
        assert [text.split(":")[0] for text in loader.bad_images] == ["unreadable image"] * 2
        assert "train/bee/3.jpg (row 11)" in loader.bad_images[0]
    with pytest.raises(
        UserError, match=r"more unreadable images than max_bad_images allows \(1\); the last is an .*bee/4"
    ):
        list(DeviceLoader(batches, [order[:2], order[2:]], *settings, max_bad_images=1))


def test_a_workers_batch_stays_what_it_is_while_the_worker_makes_those_it_may_be_ahead(image_folder, monkeypatch):
    """It writes to shared memory that it uses again: as soon as it may, and no sooner."""
    train, _ = load_train_and_validation(recipe_for(image_folder))
    batches = ImageBatches(train, TrainingTransform(recipe_for(image_folder)))
    wanted = [batches.__getitems__([(1, index), (1, index + 1)])["pixel_values"] for index in range(6)]
    assert not wanted[0].is_shared()
    monkeypatch.setattr(torch.utils.data._utils.worker, "_worker_info", object())
    made = []
    for index in range(6):
        made.append(batches.__getitems__([(1, index), (1, index + 1)])["pixel_values"])
        for number in range(max(0, index - PREFETCH_FACTOR), index + 1):
            assert torch.equal(made[number], wanted[number])
    assert all(batch.is_shared() and batch.is_contiguous(memory_format=torch.channels_last) for batch in made)
    assert len({batch.data_ptr() for batch in made}) == PREFETCH_FACTOR + 1
    smaller = batches.__getitems__([(1, 23)])["pixel_values"]  # the last batch of an evaluation
    assert smaller.shape == (1, 3, 16, 16)
    assert smaller.data_ptr() in {batch.data_ptr() for batch in made}


class Photo(torch.utils.data.Dataset):
    """One photo, as the processes of `resnet50 prepare` read those of a folder."""

    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.path.read_bytes()


@pytest.mark.parametrize(("command", "parent"), [("train", None), ("prepare", None), ("train", 0)])
def test_a_worker_that_waits_for_a_disk_ends_with_the_process_that_is_killed(command, parent, image_folder):
    """A pipe that nobody writes to in the place of a photo: reading it waits, as for a network drive that is gone."""
    train, _ = load_train_and_validation(recipe_for(image_folder))
    photo = image_folder / "train" / "ant" / "0.jpg"
    photo.unlink()
    os.mkfifo(photo)

    def read():
        if parent is not None:  # as where a fork server, which goes on, has started the workers
            os.getppid = lambda: parent
        list(in_order(Photo(photo), 2) if command == "prepare" else loader_for(recipe_for(image_folder), train, 1, 0))

    process = multiprocessing.get_context("fork").Process(target=read)
    process.start()
    disk = os.open(photo, os.O_WRONLY)  # waits until somebody reads
    process.kill()
    process.join()
    nobody_reads = select.poll()
    nobody_reads.register(disk, 0)
    ended = nobody_reads.poll(20_000)
    os.close(disk)
    assert ended == [(disk, select.POLLERR)]


@pytest.mark.parametrize("broken", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_that_is_gone_is_named_and_other_connections_are_not_it(image_folder, broken):
    """What PyTorch raises when the worker was killed while it handed over a batch."""

    class Workers:
        num_workers, pin_memory = 1, False

        def __len__(self):
            return 2

        def __iter__(self):
            yield batches.__getitems__([(1, 0)])
            raise broken

    train, _ = load_train_and_validation(recipe_for(image_folder))
    batches = ImageBatches(train, TrainingTransform(recipe_for(image_folder)))
    loader = DeviceLoader(batches, [[(1, 0)]] * 2, torch.device("cpu"), [0.5] * 3, [0.5] * 3)
    loader.loader = Workers()
    with pytest.raises(RuntimeError, match="a DataLoader worker was killed, most often because memory ran out"):
        list(loader)
    broken = ConnectionError("Caught ConnectionError in DataLoader worker process 0.")  # a Hub's, say
    with pytest.raises(ConnectionError, match="Caught"):
        list(loader)


def test_a_folder_of_nothing_but_unreadable_images_is_refused_even_when_they_are_skipped(image_folder):
    train, _ = load_train_and_validation(recipe_for(image_folder))
    for path in image_folder.glob("train/*/*.jpg"):
        path.write_bytes(b"not an image")
    batches = ImageBatches(train, TrainingTransform(recipe_for(image_folder)), on_bad_image="skip")
    with pytest.raises(UserError, match="row 3 and the 100 after it are all unreadable"):
        list(DeviceLoader(batches, [[(1, 3)]], torch.device("cpu"), [0.5] * 3, [0.5] * 3))


def test_two_folders_of_the_same_name_are_not_taken_for_one(tmp_path):
    """`datasets` goes by the name and the README.md, as folders that were downloaded from the Hub have one."""
    for place, names in (("a", ["ant", "bee"]), ("b", ["cow", "dog", "eel"])):
        folder = tmp_path / place / "packed"
        (folder / "data").mkdir(parents=True)
        features = Features({"image": Image(), "label": ClassLabel(names=names)})
        image = {"bytes": b"1", "path": None}
        rows = Dataset.from_dict({"image": [image] * len(names), "label": range(len(names))}, features=features)
        rows.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
        (folder / "README.md").write_text(
            "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n---\n"
        )
        assert load_splits(str(folder))["train"].features["label"].names == names
        assert open_streamed_split(str(folder), ["train"]).label_names == names


# Holding out


def held_out_counts(counts: list[int], share: float, seed: int = 0) -> list[int]:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    held = held_out(labels, share, seed)
    assert np.array_equal(held, held_out(labels.copy(), share, seed))
    return np.bincount(labels[held], minlength=len(counts)).tolist()


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([5] * 10, 0.1, [1] * 10),  # a tenth would be 5 images, but every class needs one
        ([200, 3], 0.1, [20, 1]),
        ([2, 2], 0.9, [1, 1]),
        ([2, 100], 0.5, [1, 50]),
        ([10] * 10, 0.1, [1] * 10),
        ([15] * 10, 0.1, [2] * 5 + [1] * 5),  # 15 of 150, though a tenth of no class is a whole number
        ([10, 10, 10], 0.25, [3, 3, 2]),  # 7.5 images: 8, as Python rounds
        ([1000, 0, 7], 0.29, [290, 0, 2]),
        ([3, 4], 0.999, [2, 3]),
        ([3, 4], 0.001, [1, 1]),
    ],
)
def test_each_class_is_held_out_in_its_share_with_one_on_each_side(counts, share, expected):
    assert held_out_counts(counts, share) == expected


def test_what_is_held_out_is_within_one_image_of_the_share_for_any_classes():
    rng = np.random.default_rng(0)
    for _ in range(300):
        counts = rng.integers(2, rng.integers(3, 300), rng.integers(1, 40))
        share = float(rng.uniform(0.001, 0.999))
        held = np.array(held_out_counts(counts.tolist(), share))
        assert (held >= 1).all()
        assert (held < counts).all()
        free = (held > 1) & (held < counts - 1)
        assert (abs(held - share * counts)[free] < 1).all()
        if (share * counts >= 1).all() and (share * counts <= counts - 1).all():
            assert held.sum() == round(share * counts.sum())


def test_another_seed_holds_out_others_and_both_parts_keep_their_order(image_folder):
    recipe = recipe_for(image_folder / "train", train_val_split=0.25)
    paths = [row["path"] for row in load_splits(str(image_folder / "train"))["train"]["image"]]
    parts = [[row["path"] for row in part["image"]] for part in load_train_and_validation(recipe)]
    assert sorted([*parts[0], *parts[1]]) == paths
    assert all(sorted(part) == part for part in parts)
    labels = np.repeat([0, 1, 2], 8)
    assert len({held_out(labels, 0.25, seed).tobytes() for seed in range(5)}) > 1


def test_a_class_of_one_image_is_named(image_folder):
    for path in sorted((image_folder / "train" / "bee").iterdir())[1:]:
        path.unlink()
    with pytest.raises(UserError, match=r"at least 2 images in every class.* 1 of 3 .*first 'bee' with 1"):
        load_train_and_validation(recipe_for(image_folder / "train", train_val_split=0.25))
