"""ImageNet-1K from its archives: whole, each image under its own class, resumable at every point."""

import io
import random
import signal
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets.imagenet as torchvision_imagenet
from PIL import Image
from processes import run_in_a_fork
from synthetic_imagenet import (
    TRAIN_PER_CLASS,
    WNIDS,
    WORDS,
    devkit_files,
    grey_of,
    jpeg,
    make_imagenet,
    make_tiny_imagenet,
    tar_bytes,
)

from modeling_resnet50.data.sources import load_evaluation_split
from modeling_resnet50.prepare.imagenet import extract_train, extract_validation, prepare_imagenet
from modeling_resnet50.prepare.labels import DevKit, read_devkit
from modeling_resnet50.prepare.steps import Steps, Verified, require_space
from modeling_resnet50.prepare.tiny_imagenet import extract_tiny_imagenet
from resnet50_recipe.errors import UserError


KIT = "ILSVRC2012_devkit_t12/data"


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return make_imagenet(tmp_path_factory.mktemp("archives"))


@pytest.fixture
def steps():
    return Steps(io.StringIO())


def prepare(synthetic, to, steps, verify=lambda path, known: None):
    prepare_imagenet(to, synthetic.files, lambda known: synthetic.root / known.name, verify, steps)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shown_class(path: Path) -> int:
    """The class that a synthetic image shows, whatever its folder says."""
    grey = int(np.asarray(Image.open(path))[-1, -1, 0])
    return min(range(len(WNIDS)), key=lambda label: abs(grey - grey_of(sorted(WNIDS)[label])))


def test_every_image_lies_under_the_class_it_shows(synthetic, tmp_path, steps):
    prepare(synthetic, tmp_path, steps)
    for split, count in (("train", len(WNIDS) * TRAIN_PER_CLASS), ("val", len(synthetic.truth))):
        images = sorted((tmp_path / split).glob("*/*.JPEG"))
        assert len(images) == count
        for path in images:
            assert path.parent.name == sorted(WNIDS)[shown_class(path)]


def test_labels_are_those_of_torchvisions_imagenet(synthetic, tmp_path, steps, monkeypatch):
    prepare(synthetic, tmp_path / "ours", steps)
    files = synthetic.files
    monkeypatch.setattr(
        torchvision_imagenet,
        "ARCHIVE_META",
        {split: (getattr(files, split).name, getattr(files, split).md5) for split in ("train", "val", "devkit")},
    )
    for split in ("train", "val"):
        theirs = torchvision_imagenet.ImageNet(synthetic.root, split=split)
        expected = {Path(path).name: label for path, label in theirs.samples}
        ours = load_evaluation_split(str(tmp_path / "ours"), split)
        assert {Path(row["image"]["path"]).name: row["label"] for row in ours} == expected
        assert theirs.wnids == sorted(WNIDS)


def test_classes_are_in_words_and_the_two_cranes_are_told_apart(synthetic, tmp_path, steps):
    prepare(synthetic, tmp_path, steps)
    assert load_evaluation_split(str(tmp_path)).features["label"].names == [
        "tench, Tinca tinca",
        "goldfish, Carassius auratus",
        "crane (n02012849)",
        "Shetland sheepdog, Shetland sheep dog, Shetland",
        "crane (n03126707)",
        "toilet tissue, toilet paper, bathroom tissue",
    ]


@pytest.mark.parametrize("truth_format", ["text", "mat"])
@pytest.mark.parametrize("unpacked", [False, True])
def test_development_kit_is_read_as_archive_or_folder_with_text_or_mat_truth(tmp_path, truth_format, unpacked):
    synthetic = make_imagenet(tmp_path, truth_format)
    path = tmp_path / "ILSVRC2012_devkit_t12.tar.gz"
    if unpacked:
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path / "kit", filter="data")
        path = tmp_path / "kit"
    kit = read_devkit(path)
    assert kit.names == {wnid: WORDS[wnid] for wnid in sorted(WNIDS)}
    assert list(kit.names) == sorted(WNIDS)
    assert {name: kit.validation_wnid(name) for name in synthetic.truth} == synthetic.truth


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("ILSVRC2012_devkit_t12/data/meta.mat"), r"holds no meta\.mat"),
        (
            lambda files: files.pop("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"),
            "holds neither",
        ),
        (lambda files: files.update({"x/meta.mat": b"MATLAB 5.0"}), r"meta\.mat is damaged"),
        (lambda files: files.update({"x/ILSVRC2012_validation_ground_truth.txt": b"1\n7\n"}), "names class 7, which"),
        (lambda files: files.update({"x/ILSVRC2012_validation_ground_truth.txt": b"one\n"}), "a class number in each"),
    ],
)
def test_damaged_development_kits_are_refused(tmp_path, change, message):
    files = devkit_files([WNIDS[0]])
    change(files)
    (tmp_path / "kit.tar.gz").write_bytes(tar_bytes(files, "w:gz"))
    with pytest.raises(UserError, match=message):
        read_devkit(tmp_path / "kit.tar.gz")


@pytest.mark.parametrize(
    "name", ["ILSVRC2012_val_00000000.JPEG", "ILSVRC2012_val_00000004.JPEG", "ILSVRC2012_val_1.JPEG", "other.JPEG"]
)
def test_a_validation_image_without_ground_truth_is_refused(tmp_path, steps, name):
    kit = DevKit({"n01440764": "tench"}, ["n01440764"] * 3)
    (tmp_path / "val.tar").write_bytes(tar_bytes({name: b"image"}))
    with pytest.raises(UserError, match=f"'{name}' is no validation image: ILSVRC2012_val_00000001.JPEG to 00000003"):
        extract_validation(tmp_path / "val.tar", tmp_path / "val", kit, steps)


def test_missing_validation_images_and_classes_are_counted_and_nothing_gets_its_name(tmp_path, steps):
    kit = DevKit({"n01440764": "tench", "n01443537": "goldfish"}, ["n01440764"] * 3)
    (tmp_path / "val.tar").write_bytes(tar_bytes({"ILSVRC2012_val_00000002.JPEG": b"image"}))
    with pytest.raises(UserError, match=r"val\.tar holds 1 images, not the 3 of the ground truth"):
        extract_validation(tmp_path / "val.tar", tmp_path / "val", kit, steps)
    inner = tar_bytes({"n01440764_1.JPEG": b"image"})
    (tmp_path / "train.tar").write_bytes(tar_bytes({"n01440764.tar": inner}))
    with pytest.raises(UserError, match=r"train\.tar lacks 1 classes, first n01443537"):
        extract_train(tmp_path / "train.tar", tmp_path / "train", kit, steps)
    (tmp_path / "train.tar").write_bytes(tar_bytes({"n01440764.tar": inner, "n01443537.tar": inner}))
    with pytest.raises(UserError, match=r"n01443537\.tar holds 'n01440764_1\.JPEG', which is no image of that class"):
        extract_train(tmp_path / "train.tar", tmp_path / "train2", kit, steps)
    (tmp_path / "train.tar").write_bytes(tar_bytes({"n01440764.tar": inner[:700]}))
    with pytest.raises(UserError, match=r"n01440764\.tar in train\.tar is (truncated or )?damaged"):
        extract_train(tmp_path / "train.tar", tmp_path / "train3", kit, steps)
    assert not [path for path in tmp_path.iterdir() if path.is_dir() and path.name[0] != "."]


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.long)])
def test_killed_anywhere_and_started_again_the_result_is_that_of_an_undisturbed_run(times, synthetic, tmp_path, steps):
    prepare(synthetic, tmp_path / "undisturbed", steps)
    expected = snapshot(tmp_path / "undisturbed" / "train") | snapshot(tmp_path / "undisturbed" / "val")
    chance, kills = random.Random(0), 0
    for number in range(times):
        to = tmp_path / str(number)
        exit_code = None
        while exit_code != 0:
            exit_code = run_in_a_fork(lambda: prepare(synthetic, to, steps), kill_at=chance.randrange(20, 150))  # noqa: B023
            assert exit_code in (0, -signal.SIGKILL)
            kills += exit_code != 0
        assert snapshot(to / "train") | snapshot(to / "val") == expected
        assert {path.name for path in to.iterdir()} == {"train", "val", ".verified.json"}
    assert kills >= times


def test_archives_are_verified_once_and_again_after_they_changed(synthetic, tmp_path, steps):
    seen = []

    def verify(path, known):
        seen.append(known.name)
        if len(seen) == 2:
            raise UserError("wrong")

    with pytest.raises(UserError, match="wrong"):
        prepare(synthetic, tmp_path, steps, verify)
    assert not (tmp_path / "val").exists()
    prepare(synthetic, tmp_path, steps, verify)
    devkit, val, train = synthetic.files.devkit.name, synthetic.files.val.name, synthetic.files.train.name
    assert seen == [devkit, val, val, train]
    prepare(synthetic, tmp_path, steps, verify)
    assert len(seen) == 4  # all is there: no archive is even looked at
    (tmp_path / "copy.tar").write_bytes(b"1")
    verified = Verified(tmp_path)
    verified.add(tmp_path / "copy.tar")
    assert tmp_path / "copy.tar" in verified
    (tmp_path / "copy.tar").write_bytes(b"12")
    assert tmp_path / "copy.tar" not in verified


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match=r"extracting x needs .* in .* free: make room for .* more"):
        require_space(tmp_path / "data", 2**60, "extracting x")


def test_tiny_imagenet_is_turned_into_class_folders(tmp_path, steps):
    truth = make_tiny_imagenet(tmp_path / "tiny-imagenet-200.zip")
    extract_tiny_imagenet(tmp_path / "tiny-imagenet-200.zip", tmp_path / "data", steps)
    assert {path.name: path.parent.name for path in (tmp_path / "data" / "val").glob("*/*")} == truth
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"train", "val"}
    for path in (tmp_path / "data").glob("*/*/*"):
        assert path.parent.name == sorted(WNIDS)[shown_class(path)]
    extract_tiny_imagenet(tmp_path / "tiny-imagenet-200.zip", tmp_path / "data", steps)
    assert "there already" in steps.console.file.getvalue()


def test_tiny_imagenet_without_a_label_or_an_image_is_refused(tmp_path, steps):
    line = "val_0.JPEG\tn01440764\t0\t0\t1\t1\n"
    for annotations, images, message in (
        (line, [], "1 annotated validation images are missing, first val_0.JPEG"),
        (line, ["val_0.JPEG", "val_1.JPEG"], "val_1.JPEG has no line in val_annotations.txt"),
        (line.replace("01440764", "01443537"), ["val_0.JPEG"], "a class without training images: n01443537"),
        ("no tabs\n", ["val_0.JPEG"], "is not `file <tab> wnid"),
        (None, ["val_0.JPEG"], "holds no tiny-imagenet-200/val/val_annotations.txt"),
    ):
        with zipfile.ZipFile(tmp_path / "tiny.zip", "w") as archive:
            archive.writestr("tiny-imagenet-200/train/n01440764/images/n01440764_0.JPEG", jpeg("n01440764", 0))
            for name in images:
                archive.writestr(f"tiny-imagenet-200/val/images/{name}", jpeg("n01440764", 1))
            if annotations is not None:
                archive.writestr("tiny-imagenet-200/val/val_annotations.txt", annotations)
        with pytest.raises(UserError, match=message):
            extract_tiny_imagenet(tmp_path / "tiny.zip", tmp_path / "data", steps)
        assert not (tmp_path / "data" / "val").exists()
