"""What `resnet50 prepare check` must find, and what it must not complain about."""

import base64
import html
import io
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage
from shared import write_image
from synthetic_imagenet import VALIDATION_PER_CLASS, WNIDS, make_kaggle
from timm.data import ImageNetInfo, RealLabelsImagenet

from modeling_resnet50.data.class_names import imagenet_words
from modeling_resnet50.data.sources import load_splits
from modeling_resnet50.prepare.check import EXPECTATIONS, Expected, SplitTable, check_folder, judge
from modeling_resnet50.prepare.check_report import write_report
from modeling_resnet50.prepare.pack import pack


SIX = Expected("six classes", {"train": 24, "validation": 18}, 6, {"train": (4, 4), "validation": (3, 3)})


@pytest.fixture
def folder(tmp_path) -> Path:
    """torchvision's layout: the validation images in class folders, under their numbered names."""
    truth = make_kaggle(tmp_path / "kaggle")
    images = tmp_path / "kaggle" / "ILSVRC" / "Data" / "CLS-LOC"
    for name, wnid in truth.items():
        (tmp_path / "data" / "val" / wnid).mkdir(parents=True, exist_ok=True)
        (images / "val" / name).rename(tmp_path / "data" / "val" / wnid / name)
    (images / "train").rename(tmp_path / "data" / "train")
    return tmp_path / "data"


def the_problem(folder: Path, expected: Expected = SIX) -> str:
    (problem,) = check_folder(folder, expected=expected).problems
    return problem


def test_a_right_data_set_is_found_right_in_every_layout(folder, tmp_path):
    make_kaggle(tmp_path / "again")
    pack(load_splits(str(folder)), tmp_path / "packed", short_side=16)
    for layout in (folder, tmp_path / "again", tmp_path / "packed"):
        result = check_folder(layout, expected=SIX, num_proc=2)
        assert result.problems == []
        assert result.verdict.startswith("Six classes, whole and right: 6 classes, 24 train + 18 val")


def test_labels_in_the_order_of_files_are_found(folder):
    """The fault of many a script: sorted validation images dealt out to sorted classes."""
    images = sorted(folder.glob("val/*/*"), key=lambda path: path.name)
    wnids = sorted(WNIDS)
    for path in images:
        path.rename(folder / "val" / path.name)
    for i, path in enumerate(images):
        (folder / "val" / path.name).rename(folder / "val" / wnids[i // VALIDATION_PER_CLASS] / path.name)
    assert "dealt out to the classes in the order of their names" in the_problem(folder)


def test_an_image_in_another_class_than_its_name_says_is_found(folder):
    path = folder / "train" / "n01440764" / "n01440764_100.JPEG"
    other = folder / "train" / "n01443537" / "n01443537_100.JPEG"
    path.rename(folder / "train" / "n01443537" / path.name)
    other.rename(folder / "train" / "n01440764" / other.name)
    assert the_problem(folder) == "train: 2 images have another class than the WordNet id in the file's name"


def test_words_for_classes_must_come_in_the_order_of_the_ids(folder, tmp_path):
    splits = load_splits(str(folder))
    for words, right in ((sorted(WNIDS), True), (sorted(WNIDS, reverse=True), False)):
        names = [f"kind {number}" for number, _ in enumerate(words)]
        labels = [words.index(sorted(WNIDS)[label]) for label in splits["train"]["label"][:]]
        features = Features({"image": Image(decode=False), "label": ClassLabel(names=names)})
        to = tmp_path / f"right-{right}"
        to.mkdir()
        rows = Dataset.from_dict({"image": splits["train"]["image"][:], "label": labels}, features=features)
        rows.to_parquet(to / "train.parquet")
        problems = check_folder(to, expected=EXPECTATIONS["nothing"]).problems
        assert bool(problems) is not right


def test_missing_superfluous_and_unreadable_images_are_found(folder):
    image = folder / "train" / "n01440764" / "n01440764_100.JPEG"
    content = image.read_bytes()
    image.unlink()
    assert check_folder(folder, expected=SIX).problems == [
        "train: 23 images instead of 24",
        "train: 1 class with another number of images than there should be, first 'n01440764' with 3 instead of "
        "at least 4",
    ]
    image.write_bytes(content[:-40])
    assert re.fullmatch(
        r"train: 1 unreadable image, first .*n01440764_100\.JPEG: .*[Pp]remature.*", the_problem(folder)
    )
    image.write_bytes(content)
    shutil.rmtree(folder / "train" / "n15075141")
    shutil.rmtree(folder / "val" / "n15075141")
    assert "train: 5 classes instead of 6" in check_folder(folder, expected=SIX).problems


def test_a_process_that_is_killed_is_named(folder, broken_pipe):
    with pytest.raises(RuntimeError, match="a DataLoader worker was killed"):
        check_folder(folder, expected=SIX, num_proc=2)


def test_splits_with_different_classes_and_missing_splits_are_found(folder):
    (folder / "val" / "n15075141").rename(folder / "val" / "n15075142")
    assert check_folder(folder, expected=SIX).problems == [
        "val: lacks 1 class of train, first 'n15075141'",
        "train: lacks 1 class of val, first 'n15075142'",
    ]
    shutil.rmtree(folder / "val")
    assert the_problem(folder) == "there is no validation split"


def test_one_class_is_a_problem_and_no_validation_split_is_said(folder, capsys):
    shutil.rmtree(folder / "val")
    check_folder(folder)
    assert "no validation split: train, and evaluate, with --train_val_split 0.1" in capsys.readouterr().err
    for name in WNIDS[1:]:
        shutil.rmtree(folder / "train" / name)
    assert the_problem(folder, Expected("a data set")).startswith(f"there is one class only, '{WNIDS[0]}'")


def test_odd_files_copies_and_leaks_are_noted(folder):
    first = folder / "train" / "n01440764" / "n01440764_100.JPEG"
    PILImage.open(first).save(first, "PNG")
    second = first.with_name("n01440764_101.JPEG")
    PILImage.open(second).convert("CMYK").save(second, "JPEG")
    third = first.with_name("n01440764_102.JPEG")
    third.with_name("n01440764_103.JPEG").write_bytes(third.read_bytes())
    next(folder.glob("val/n01440764/*")).write_bytes(third.read_bytes())
    result = check_folder(folder, expected=SIX)
    assert result.problems == []
    assert {
        "PNG named .JPEG: 1", "JPEG in CMYK: 1", "1 validation image is, byte for byte, also for training",
    } <= set(result.notes)  # fmt: skip
    (copies,) = [note for note in result.notes if "there more than once" in note]
    assert copies.startswith("train: 1 image is, byte for byte, there more than once, first ")
    assert all(path.name in copies for path in (third, third.with_name("n01440764_103.JPEG")))


def imagenet_validation(labels: np.ndarray, class_names: list[str]) -> SplitTable:
    ones = np.full(50_000, 1)
    return SplitTable(
        name="val", class_names=class_names, labels=labels, widths=ones, heights=ones, sizes=ones, wnids=-ones,
        numbers=np.arange(1, 50_001), digests=np.arange(50_000, dtype=np.uint64), odd=Counter(), unreadable=[],
    )  # fmt: skip


def test_imagenet_labels_are_held_against_those_of_the_real_study():
    """A stand-in for the true labels, which nobody ships: one of ReaL's own for each image, where it has any."""
    real = RealLabelsImagenet([""] * 50_000).real_labels
    labels = np.array([(real[f"ILSVRC2012_val_{i:08d}.JPEG"] or [0])[0] for i in range(1, 50_001)])
    expected = Expected("ImageNet-1K", imagenet=True)
    wnids = ImageNetInfo().label_names()
    for names in (wnids, imagenet_words(wnids)):
        assert judge([imagenet_validation(labels, names)], expected)[0] == []
    shuffled = np.random.default_rng(0).permutation(labels)
    (problem,) = judge([imagenet_validation(shuffled, wnids)], expected)[0]
    assert re.fullmatch(r"val: only 0\.\d% of the labels are among those that the ReaL study .*", problem)


@pytest.mark.parametrize("in_words", [False, True])
def test_imagenet_classes_have_one_order(in_words):
    names = ImageNetInfo().label_names()
    names = imagenet_words(names) if in_words else names
    names[7], names[8] = names[8], names[7]
    labels = np.arange(50_000) % 1000
    (problem, *_) = judge([imagenet_validation(labels, names)], Expected("ImageNet-1K", imagenet=True))[0]
    assert "val: class 7 is" in problem
    assert "instead of n01514668 (cock): the classes are not in the order of the sorted WordNet ids" in problem


def test_imagenet_is_recognised_even_if_a_class_is_missing(tmp_path):
    wnids = ImageNetInfo().label_names()[:-1]
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=wnids)})
    buffer = io.BytesIO()
    PILImage.new("RGB", (8, 8)).save(buffer, "JPEG")
    images = [{"bytes": buffer.getvalue(), "path": None}] * len(wnids)
    rows = Dataset.from_dict({"image": images, "label": range(len(wnids))}, features=features)
    rows.to_parquet(tmp_path / "train.parquet")
    problems = check_folder(tmp_path).problems
    assert problems[:2] == ["train: 999 classes instead of 1,000", "train: 999 images instead of 1,281,167"]


def test_suspicious_jpegs_are_listed_with_pictures_and_are_no_problem(folder, tmp_path):
    """Bytes too many before a marker: whole photos have them, and so have JPEGs with a flipped bit."""
    paths = [folder / split / WNIDS[0] for split in ("train", "val")]
    for path in (min(paths[0].iterdir()), min(paths[1].iterdir())):
        data = path.read_bytes()
        assert data[-2:] == b"\xff\xd9"
        path.write_bytes(data[:-2] + bytes(6) + data[-2:])
    result = check_folder(folder, expected=SIX)
    assert result.problems == []
    for table in result.tables:
        ((row, what),) = table.suspicious.items()
        image = result.splits[table.name][row]["image"]
        assert what.startswith(image["path"])
        assert re.search(r"extraneous bytes? before marker 0xd9", what)
        assert any(note.startswith(f"{table.name}: 1 suspicious JPEG") and what in note for note in result.notes)
    write_report(result, "it", tmp_path / "check.html")
    pictures = re.findall(
        r'class="suspicious" src="data:image/jpeg;base64,([^"]+)"', (tmp_path / "check.html").read_text()
    )
    assert len(pictures) == 2
    assert {PILImage.open(io.BytesIO(base64.b64decode(data))).size for data in pictures} == {(224, 224)}


def test_the_report_is_one_file_with_a_picture_of_every_class_and_names_are_only_text(folder, tmp_path):
    evil = "<script>alert(1)<∕script> & 'x'"
    for split in ("train", "val"):
        (folder / split / "n15075141").rename(folder / split / evil)
    write_image(folder / "train" / "n01440764" / "n01440764_9.JPEG", 1, (600, 30))
    (folder / "train" / "n01440764" / "n01440764_8.JPEG").write_bytes(b"no image")
    result = check_folder(folder, expected=SIX)
    write_report(result, "a <b> c", tmp_path / "reports" / "check.html")
    text = (tmp_path / "reports" / "check.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;∕script&gt; &amp; &#39;x&#39;" in text
    assert not re.search(r"(src|href)=.(?!data:)", text)
    pictures = re.findall(r'class="(\w+)" src="data:image/jpeg;base64,([^"]+)"', text)
    assert [kind for kind, _ in pictures].count("validation") == 6
    for _, data in pictures:
        assert PILImage.open(io.BytesIO(base64.b64decode(data))).size == (64, 64)
    for problem in (*result.problems, result.verdict):
        assert html.escape(problem, quote=True).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in text
    size = sum(path.stat().st_size for path in (folder / "train").rglob("*") if path.is_file())
    assert f"<td>{size / 1000:.3g} kB</td>" in text
    assert "n01440764" in text
    assert "tench" not in text  # one class is no WordNet id, so all keep their names


def test_mean_and_standard_deviation_are_those_of_the_pixels(tmp_path):
    for name, pixels in (("ant/0.png", (0, 51, 255)), ("ant/1.png", (255, 51, 0)), ("bee/0.png", (255, 51, 255))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PILImage.new("RGB", (len(name), 4), pixels).save(tmp_path / name)
    (tmp_path / "bee/1.png").write_bytes(b"\x89PNG no more")
    result = check_folder(tmp_path, statistics=True)
    assert result.image_mean == [0.6667, 0.2, 0.6667]  # 2 of 3; 51 of 255
    assert result.image_std == [0.4714, 0.0, 0.4714]  # the root of 2/3 × 1/3
    assert check_folder(tmp_path).image_mean is None


def test_copies_within_a_split_are_named_and_one_of_another_class_first(tmp_path):
    for number, name in enumerate(("ant/0.png", "ant/1.png", "bee/0.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PILImage.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name)
    assert not [note for note in check_folder(tmp_path).notes if "byte for byte" in note]
    (tmp_path / "ant/9.png").write_bytes((tmp_path / "ant/0.png").read_bytes())
    (tmp_path / "bee/9.png").write_bytes((tmp_path / "ant/1.png").read_bytes())
    (note,) = [note for note in check_folder(tmp_path).notes if "byte for byte" in note]
    assert "train: 2 images are, byte for byte, there more than once, 1 with another label, first" in note
    assert f"{tmp_path}/bee/9.png as {tmp_path}/ant/1.png" in note
