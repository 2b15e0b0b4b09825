"""The ImageNet family, in small stand-ins of the exact layout: whose class is whose, and how each is counted."""

import json
from importlib.resources import files
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from shared import TINY, as_if_trained
from timm.data import ImageNetInfo, RealLabelsImagenet
from torchvision.models import ResNet50_Weights

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.class_names import imagenet_words
from modeling_resnet50.data.decoding import decode_image, encoded_bytes
from modeling_resnet50.data.loader import ImageBatches
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.sources import load_splits
from modeling_resnet50.data.transforms import EvaluationTransform, ImageTransform
from modeling_resnet50.evaluation.predictions import Predictions
from modeling_resnet50.evaluation.suites import (
    _CLASSES,
    ALEXNET_ERRORS,
    SUITES,
    WNIDS,
    judge_by,
    open_suites,
    require_imagenet_classes,
)
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.prepare.pack import pack
from resnet50_cli import main
from resnet50_recipe.errors import UserError


TIMM_LISTS = files("timm.data") / "_info"
WORDS = imagenet_words(WNIDS)

# ImageNet classes that ObjectNet's authors count as one object (abarbu/objectnet-template-pytorch, by index).
ONE_OBJECT = [
    {409, 530}, {444, 671}, {423, 559, 765}, {518, 560}, {418, 563, 749}, {601, 655, 689}, {732, 759}, {457, 906},
    {479, 694},
]  # fmt: skip
# And all ImageNet classes that they map to an object.
WITH_OBJECT = [
    409, 412, 414, 418, 419, 423, 434, 440, 444, 446, 455, 457, 462, 463, 470, 473, 479, 487, 499, 504, 507, 508, 518,
    530, 531, 533, 539, 543, 545, 549, 550, 559, 560, 563, 567, 578, 587, 588, 589, 601, 606, 608, 610, 618, 619, 620,
    623, 626, 629, 630, 632, 644, 647, 651, 655, 658, 659, 664, 671, 673, 677, 679, 689, 694, 695, 696, 700, 703, 720,
    721, 725, 728, 729, 731, 732, 737, 740, 742, 749, 752, 759, 761, 765, 769, 770, 772, 773, 774, 778, 783, 790, 792,
    797, 804, 806, 809, 811, 813, 828, 834, 837, 841, 842, 846, 849, 850, 851, 859, 868, 879, 882, 883, 893, 898, 902,
    906, 907, 909, 923, 930, 950, 951, 954, 968, 999,
]  # fmt: skip


def robustness(root, predict, names=tuple(SUITES)):
    """The scores of those that are there, and how to get the others."""
    opened, absent = open_suites(root, names)
    return judge_by(opened, predict), absent


def picture(path: Path, label: int, border: int = 0) -> None:
    """A picture that shows its class, in ImageNet's order, by its colour; losslessly, whatever the file is called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((12, 16, 3), (label // 256, label % 256, 7), np.uint8)
    if border:
        framed = np.full_like(pixels, (255, 0, 0))
        framed[border:-border, border:-border] = pixels[border:-border, border:-border]
        pixels = framed
    Image.fromarray(pixels).save(path, "PNG")


def what_it_shows(dataset: datasets.Dataset) -> np.ndarray:
    shown = [decode_image(encoded_bytes(row["image"]))[:, 0, 0].tolist() for row in dataset]
    return np.array([256 * red + green for red, green, _ in shown])


def one_hot(classes: np.ndarray) -> np.ndarray:
    return np.eye(1000, dtype=np.float32)[classes]


def perfect(dataset: datasets.Dataset, already_cropped: bool) -> Predictions:
    """A model that sees the class in the picture: right only where the label is."""
    return Predictions(one_hot(what_it_shows(dataset)), np.array(dataset["label"][:]), WORDS)


def make_imagenet(root: Path, labels=(0, 9, 134, 517)) -> None:
    for number, label in enumerate(labels, 1):
        picture(root / "imagenet" / "val" / WNIDS[label] / f"ILSVRC2012_val_{number:08d}.JPEG", label)


def make_v2(root: Path, variant: str = "matched-frequency", labels=range(12)) -> None:
    for label in labels:
        picture(root / f"imagenetv2-{variant}-format-val" / str(label) / "0a1b.jpeg", label)


def make_subset(root: Path, name: str) -> None:
    indices = [int(line) for line in (TIMM_LISTS / f"{name.replace('-', '_')}_indices.txt").read_text().split()]
    for label in (indices[0], indices[1], indices[-1]):
        picture(root / name / WNIDS[label] / "0.000116_digital clock _ digital clock_0.865662.jpg", label)
    (root / name / "README.txt").write_text("as it comes")


def make_sketch(root: Path) -> None:
    for label in (1, 999):
        picture(root / "sketch" / WNIDS[label] / "sketch_5.JPEG", label)


def make_c(root: Path, grouped: bool, corruptions=tuple(ALEXNET_ERRORS)) -> None:
    archive = {"noise": "noise", "blur": "blur", "snow": "weather", "frost": "weather", "fog": "weather"}
    archive["brightness"] = "weather"
    for corruption in corruptions:
        group = archive.get(corruption.split("_")[-1], archive.get(corruption, "digital")) if grouped else ""
        for severity in range(1, 6):
            for label in (3, 5):
                folder = root / "imagenet-c" / group / corruption / str(severity) / WNIDS[label]
                picture(folder / f"ILSVRC2012_val_{label:08d}.JPEG", label)


def make_objectnet(root: Path) -> None:
    images = root / "objectnet-1.0" / "images"
    for folder, label in (("alarm_clock", 530), ("bicycle", 671), ("banana", 954)):
        picture(images / folder / "0a1b2c.png", label, border=2)
    picture(images / "air_freshener" / "3d4e5f.png", 0, border=2)  # no class of ImageNet


def test_class_lists_are_timms():
    for name in ("imagenet-a", "imagenet-r"):
        stem = name.replace("-", "_")
        assert list(SUITES[name].subset) == (TIMM_LISTS / f"{stem}_synsets.txt").read_text().split()
        indices = [int(line) for line in (TIMM_LISTS / f"{stem}_indices.txt").read_text().split()]
        assert [WNIDS.index(wnid) for wnid in SUITES[name].subset] == indices
        assert len(set(indices)) == 200
    assert ImageNetInfo().label_names() == WNIDS == sorted(WNIDS)


def test_objectnets_113_objects_are_those_of_its_authors():
    groups = [{WNIDS.index(wnid) for wnid in wnids} for wnids in _CLASSES["objectnet"].values()]
    assert len(groups) == 113
    assert sorted(index for group in groups for index in group) == WITH_OBJECT  # each once: no two objects share one
    several = [group for group in groups if len(group) > 1]
    assert sorted(map(min, several)) == sorted(map(min, ONE_OBJECT))
    assert all(group in ONE_OBJECT for group in several)
    # Folder and class have a word in common wherever that can be expected; these are the others.
    without = [
        folder
        for folder, wnids in _CLASSES["objectnet"].items()
        if not any(part in WORDS[WNIDS.index(wnid)].lower() for wnid in wnids for part in folder.split("_"))
    ]
    assert set(without) <= {
        "bicycle", "bread_loaf", "butchers_knife", "coffee_french_press", "dress", "dress_shoe_men", "jeans", "match",
        "pen", "stuffed_animal", "sweater", "tv", "weight_exercise", "weight_scale", "winter_glove", "helmet",
        "still_camera", "drill", "clothes_hamper", "hand_towel_or_rag", "portable_heater", "trash_bin",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "make", "part"),
    [
        ("imagenet-1k", make_imagenet, "validation"),
        ("imagenet-v2", make_v2, "matched-frequency"),
        ("imagenet-a", lambda root: make_subset(root, "imagenet-a"), "test"),
        ("imagenet-r", lambda root: make_subset(root, "imagenet-r"), "test"),
        ("imagenet-sketch", make_sketch, "test"),
        ("imagenet-c", lambda root: make_c(root, False, ["fog"]), "fog/3"),
        ("imagenet-c", lambda root: make_c(root, True, ["fog"]), "fog/3"),
    ],
)
def test_every_image_has_the_class_it_shows(tmp_path, name, make, part):
    make(tmp_path)
    dataset = SUITES[name].open(SUITES[name].locate(tmp_path)[part])
    assert what_it_shows(dataset).tolist() == dataset["label"][:]
    assert dataset.features["label"].names == WORDS


def test_v2s_folders_are_numbers_which_imagefolder_sorts_as_words(tmp_path):
    make_v2(tmp_path)
    place = SUITES["imagenet-v2"].locate(tmp_path)["matched-frequency"]
    naive = datasets.load_dataset("imagefolder", data_dir=str(place), cache_dir=str(tmp_path / "cache"), split="train")
    naive = naive.cast_column("image", datasets.Image(decode=False))
    assert (what_it_shows(naive) != naive["label"][:]).sum() == 10  # the trap: only 0 and 1 keep their place
    ours = SUITES["imagenet-v2"].open(place)
    assert ours["label"][:] == what_it_shows(ours).tolist()


def test_a_packed_suite_is_the_same_suite(tmp_path):
    make_v2(tmp_path / "folders")
    name = "imagenetv2-matched-frequency-format-val"
    pack(load_splits(str(tmp_path / "folders" / name)), tmp_path / "packed" / name)
    dataset = SUITES["imagenet-v2"].open(SUITES["imagenet-v2"].locate(tmp_path / "packed")["matched-frequency"])
    assert sorted(dataset["label"][:]) == list(range(12))
    assert dataset["label"][:] == what_it_shows(dataset).tolist()


def test_a_foreign_class_is_named(tmp_path):
    picture(tmp_path / "imagenet-a" / WNIDS[0] / "0.jpg", 0)  # tench is not among the 200
    with pytest.raises(UserError, match=r"'n01440764' is no class of ImageNet-A"):
        SUITES["imagenet-a"].open(tmp_path / "imagenet-a")


def test_only_the_200_classes_compete(tmp_path):
    make_subset(tmp_path, "imagenet-r")
    suite = SUITES["imagenet-r"]
    dataset = suite.open(tmp_path / "imagenet-r")
    labels = np.array(dataset["label"][:])
    logits = one_hot(labels)
    logits[:, 0] = 5  # tench, which ImageNet-R does not have
    assert suite.score(dataset, Predictions(logits, labels, WORDS)) == {"top1": 1, "top5": 1, "images": 3}
    logits[0, WNIDS.index(suite.subset[5])] = 5
    assert suite.score(dataset, Predictions(logits, labels, WORDS))["top1"] == pytest.approx(2 / 3)


def test_real_accuracy_equals_timms(tmp_path):
    make_imagenet(tmp_path, labels=np.random.default_rng(0).integers(0, 1000, 60))
    suite = SUITES["imagenet-real"]
    dataset = suite.open(suite.locate(tmp_path)["validation"])
    logits = np.random.default_rng(1).normal(size=(60, 1000)).astype(np.float32)
    names = [Path(row["image"]["path"]).name for row in dataset]
    # Some right, by ImageNet's own label or by another one, so that there is something to count.
    real = RealLabelsImagenet([""] * 50_000)
    for row, name in enumerate(names[:30]):
        logits[row, real.real_labels[name][-1:]] = 9
    real.filenames = names
    real.add_result(torch.from_numpy(logits))
    score = suite.score(dataset, Predictions(logits, np.array(dataset["label"][:]), WORDS))
    assert score["top1"] == pytest.approx(real.get_accuracy(1) / 100)
    assert score["top5"] == pytest.approx(real.get_accuracy(5) / 100)
    assert 0.4 < score["top1"] < 0.6
    assert score["images"] == len(real.is_correct[1]) < 60  # the study found no label for some


def test_real_needs_the_names_of_the_images(tmp_path):
    picture(tmp_path / "imagenet" / "val" / WNIDS[0] / "renamed.jpg", 0)
    with pytest.raises(UserError, match=r"ILSVRC2012_val_….JPEG, which 1 of these have not"):
        SUITES["imagenet-real"].open(tmp_path / "imagenet")


def test_objectnet_has_its_border_cut_and_other_objects_left_out(tmp_path):
    make_objectnet(tmp_path)
    dataset = SUITES["objectnet"].open(SUITES["objectnet"].locate(tmp_path)["test"])
    assert len(dataset) == 3
    pixels = ImageBatches(dataset, ImageTransform()).__getitems__([(0, 0), (0, 1), (0, 2)])["pixel_values"]
    assert pixels.shape == (3, 3, 8, 12)
    assert (pixels[:, 2] == 7).all()  # no red anywhere
    assert what_it_shows(dataset).tolist() == [530, 954, 671]  # folders in order: alarm_clock, banana, bicycle


def test_any_of_an_objects_classes_is_right(tmp_path):
    make_objectnet(tmp_path)
    suite = SUITES["objectnet"]
    dataset = suite.open(suite.locate(tmp_path)["test"])
    labels = np.array(dataset["label"][:])
    logits = one_hot(what_it_shows(dataset))  # a digital clock, a banana, a mountain bike
    assert suite.score(dataset, Predictions(logits, labels, WORDS))["top1"] == 1
    logits[0, 0] = 5  # first comes a tench, which is none of the 113 objects, and then the clock
    logits[1, 409] = 5  # an analog clock, which is one
    score = suite.score(dataset, Predictions(logits, labels, WORDS))
    assert score["top1"] == pytest.approx(1 / 3)
    assert score["top5"] == 1
    assert score["top1_of_113"] == pytest.approx(2 / 3)
    assert score["images"] == 3


def test_alexnets_errors_are_whole_numbers_of_images():
    assert len(ALEXNET_ERRORS) == 15
    for error in ALEXNET_ERRORS.values():
        wrong = error * 5 * 50_000  # five severities of 50,000 images
        assert wrong == pytest.approx(round(wrong), abs=1e-6)


def test_mce_equals_a_calculation_by_hand():
    parts = SUITES["imagenet-c"].places
    errors = {part: 0.1 * int(part[-1]) for part in parts}  # 10 % to 50 %: 30 % on average
    errors |= {f"fog/{severity}": 1.0 for severity in range(1, 6)}
    summary = SUITES["imagenet-c"].summarize({part: {"error": errors[part], "images": 50_000} for part in parts})
    assert summary["fog"]["ce"] == pytest.approx(1 / 0.819324)
    assert summary["jpeg_compression"]["ce"] == pytest.approx(0.3 / 0.6065)
    assert summary["snow"]["errors"] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    # 0.3 × the sum of 1 / 0.886428 + 1 / 0.894468 + … without fog, plus fog's 1.220518, over 15
    assert summary["mce"] == pytest.approx((0.3 * 18.181255 + 1.220518) / 15, abs=1e-6)


def test_mce_needs_all_fifteen_corruptions(tmp_path):
    make_c(tmp_path, True, ["fog", "gaussian_noise"])
    results, absent = robustness(tmp_path, perfect)
    assert set(results["imagenet-c"]) == {"fog", "gaussian_noise"}
    assert results["imagenet-c"]["fog"]["error"] == 0
    assert results["imagenet-c"]["fog"]["images_expected"] == 250_000
    assert "and 64 more" in absent["imagenet-c"]


def test_whole_family_in_one_go(tmp_path):
    for make in (make_imagenet, make_v2, make_sketch, make_objectnet):
        make(tmp_path)
    make_v2(tmp_path, "threshold0.7", labels=range(5))
    make_v2(tmp_path, "top-images", labels=range(5))
    make_subset(tmp_path, "imagenet-a")
    make_c(tmp_path, False)
    passes = []

    def predict(dataset, already_cropped):
        passes.append((len(dataset), already_cropped))
        return perfect(dataset, already_cropped)

    results, absent = robustness(tmp_path, predict)
    assert list(absent) == ["imagenet-r"]
    assert str(tmp_path / "imagenet-r") in absent["imagenet-r"]
    assert "https://github.com/hendrycks/imagenet-r (2.2 GB)" in absent["imagenet-r"]
    assert results["imagenet-1k"] == {"top1": 1, "top5": 1, "images": 4, "images_expected": 50_000}
    assert set(results["imagenet-v2"]) == {"matched-frequency", "threshold0.7", "top-images"}
    assert results["imagenet-c"]["mce"] == 0
    assert results["objectnet"]["top1"] == 1
    # ImageNet-1K serves for ReaL; -C, and it alone, is cropped already
    assert sorted(passes) == sorted([(4, False), (12, False), (5, False), (5, False), (3, False)] + [(2, False)]
                                    + [(3, False)] + [(2, True)] * 75)  # fmt: skip


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ant", "bee"], "this one has 2 (ant, …)"),
        (WNIDS[::-1], "class 0 is 'n15075141', which is class 999"),
        (sorted(ResNet50_Weights.DEFAULT.meta["categories"]), "not in the order of the sorted WordNet ids"),
        (sorted(f"LABEL_{index}" for index in range(1000)), "class 2 is 'LABEL_10', which is class 10"),
        ([f"plant {index}" for index in range(1000)], "only 0 of their names are ImageNet's"),
    ],
)
def test_a_model_of_other_classes_is_refused(names, message):
    with pytest.raises(UserError) as error:
        require_imagenet_classes(names)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "names",
    [
        WNIDS,
        WORDS,
        ResNet50_Weights.DEFAULT.meta["categories"],
        ImageNetInfo().label_descriptions(),
        ImageNetInfo().label_descriptions(detailed=True),
        [f"LABEL_{index}" for index in range(1000)],
        [str(index) for index in range(1000)],
    ],
    ids=["ids", "ours", "torchvision", "timm", "timm-detailed", "transformers", "numbers"],
)
def test_imagenets_classes_are_known_in_anyones_words(names):
    require_imagenet_classes(names)


def test_bad_roots_and_predictions_are_named(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        robustness(tmp_path / "nowhere", perfect)
    with pytest.raises(UserError, match=r"holds none of the suites.*ImageNet-Sketch.*50,889 images"):
        robustness(tmp_path, perfect)
    make_sketch(tmp_path)
    for wrong, message in (
        (Predictions(one_hot(np.array([1])), np.array([1]), WORDS), "1 predictions for 2 images"),
        (Predictions(np.full((2, 1000), np.nan, np.float32), np.array([1, 2]), WORDS), "not all finite"),
        (Predictions(np.zeros((2, 3), np.float32), np.array([1, 2]), ["a", "b", "c"]), "this one has 3"),
    ):
        with pytest.raises(UserError, match=message):
            robustness(tmp_path, lambda dataset, already_cropped, wrong=wrong: wrong)


# The command


@pytest.fixture
def imagenet_model(tmp_path):
    """A tiny one of ImageNet's 1000 classes."""
    names = {"id2label": dict(enumerate(WORDS)), "label2id": {word: index for index, word in enumerate(WORDS)}}
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, **names)))
    save_model_and_processor(
        tmp_path / "model", model, image_processor(Preprocessing.by_ratio(16, 0.875, "bilinear", [0.5] * 3, [0.2] * 3))
    )
    return tmp_path / "model", model


def test_the_command_gives_the_numbers_of_the_model_itself(imagenet_model, tmp_path, capsys):
    folder, model = imagenet_model
    make_imagenet(tmp_path / "family")
    make_v2(tmp_path / "family")
    main(["evaluate", str(folder), "--suite", "robustness", "--suite_root", str(tmp_path / "family"),
          "--dataset", str(tmp_path / "family" / "imagenet"), "--output", str(tmp_path / "out")])  # fmt: skip
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    suites = results["models"][str(folder)]["suites"]
    dataset = SUITES["imagenet-1k"].open(tmp_path / "family" / "imagenet")
    transform = EvaluationTransform(Preprocessing(18, 16, "bilinear"))
    pixels = torch.stack([transform(decode_image(encoded_bytes(row["image"]))) for row in dataset])
    with torch.no_grad():
        logits = model((pixels / 255 - 0.5) / 0.2).logits
    expected = (logits.argmax(-1) == torch.tensor(dataset["label"][:])).double().mean().item()
    assert suites["imagenet-1k"]["top1"] == expected == results["models"][str(folder)]["top1"]["value"]
    assert suites["imagenet-v2"]["matched-frequency"]["images"] == 12
    assert set(suites) == {"imagenet-1k", "imagenet-real", "imagenet-v2"}
    assert {"imagenet-a", "imagenet-c", "imagenet-v2"} <= set(results["suites_absent"])
    shown = capsys.readouterr().out
    assert "imagenet-v2, matched-frequency, top-1" in shown
    assert "not there, or not whole: ImageNet-A (Hendrycks et al. 2021): 7,500 images, from https://github" in shown
    page = (tmp_path / "out" / "report.html").read_text()
    assert "imagenet-v2" in page
    assert "Where it looks" in page  # it is our own network, whose feature maps can be had


def test_suites_alone_need_no_other_images(imagenet_model, tmp_path, capsys):
    folder, _ = imagenet_model
    make_v2(tmp_path)
    main(["evaluate", str(folder), "--suite", "imagenet-v2", "--suite_root", str(tmp_path), "--json"])
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["suites"]["imagenet-v2"]["matched-frequency"]["images"] == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which images? --dataset SOURCE, or --suite robustness --suite_root DIR"),
        (["--suite", "robustness"], "--suite needs --suite_root"),
        (["--suite", "robustness", "--suite_root", "nowhere"], "no folder nowhere"),
    ],
)
def test_what_is_missing_is_one_line(arguments, message, imagenet_model, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", str(imagenet_model[0]), *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
