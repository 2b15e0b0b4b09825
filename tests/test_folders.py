"""Image folders as people have them, and ImageNet's classes in words."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from shared import write_image
from synthetic_imagenet import TRAIN_PER_CLASS, WNIDS, make_kaggle
from timm.data import ImageNetInfo

from modeling_resnet50.commands.predict import _paths
from modeling_resnet50.data.class_names import imagenet_words
from modeling_resnet50.data.decoding import decode_image, encoded_bytes
from modeling_resnet50.data.image_files import find_images
from modeling_resnet50.data.sources import load_evaluation_split, load_splits, load_train_and_validation
from modeling_resnet50.hub.spaces.examples import folder_examples
from modeling_resnet50.prepare.check import check_folder
from modeling_resnet50.prepare.pack import pack
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


def test_kaggles_imagenet_is_read_as_it_lies_with_the_tables_labels(tmp_path):
    truth = make_kaggle(tmp_path)
    splits = load_splits(str(tmp_path))
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": len(WNIDS) * TRAIN_PER_CLASS,
        "validation": len(truth),
    }
    for split in splits.values():
        assert split.features["label"].names == sorted(WNIDS)
    labelled = {Path(row["image"]["path"]).name: sorted(WNIDS)[row["label"]] for row in splits["validation"]}
    assert labelled == truth
    for row in splits["train"]:
        assert Path(row["image"]["path"]).name.startswith(sorted(WNIDS)[row["label"]])


def test_kaggles_imagenet_with_a_hole_is_refused(tmp_path):
    truth = make_kaggle(tmp_path)
    table = tmp_path / "LOC_val_solution.csv"
    text = table.read_text()
    header, first, *others = text.splitlines(keepends=True)
    table.write_text(header + "".join(others))
    name = first.split(",")[0]
    with pytest.raises(UserError, match=f"1 validation images have no row in .*LOC_val_solution.csv, first {name}"):
        load_splits(str(tmp_path))
    table.write_text(text.replace(truth[f"{name}.JPEG"], "n99999999"))
    with pytest.raises(UserError, match="is of class 'n99999999', which has no folder"):
        load_splits(str(tmp_path))
    table.write_text(text)
    (tmp_path / "ILSVRC/Data/CLS-LOC/val" / f"{name}.JPEG").unlink()
    with pytest.raises(UserError, match=f"1 rows of .* have no image in .*val, first {name}"):
        load_splits(str(tmp_path))
    table.unlink()
    with pytest.raises(UserError, match=r"Kaggle's ImageNet without LOC_val_solution\.csv"):
        load_splits(str(tmp_path))


def test_imagenets_validation_images_in_one_heap_are_refused_with_what_to_do(tmp_path):
    for path in ("train/n01440764/n01440764_1.JPEG", "val/ILSVRC2012_val_00000001.JPEG"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"")
    with pytest.raises(UserError, match=r"val has no class folders: .* resnet50 prepare imagenet1k"):
        load_evaluation_split(str(tmp_path))


def test_words_are_those_of_timm_unique_and_unknown_ids_stay():
    timms = ImageNetInfo()
    wnids = timms.label_names()
    words = imagenet_words(wnids)
    assert len(set(words)) == 1000
    changed = {wnid: word for wnid, word in zip(wnids, words) if word != timms.label_name_to_description(wnid)}
    assert changed == {"n02012849": "crane (n02012849)", "n03126707": "crane (n03126707)"}
    assert imagenet_words(["n99999999", "n01440764"]) == ["n99999999", "tench, Tinca tinca"]


# Which files are images


def images_of(split) -> list[tuple[str, str]]:
    """Names of the files, with their classes."""
    names = split.features["label"].names
    return [(Path(row["image"]["path"]).name, names[row["label"]]) for row in split]


# One of each format that is read, with the ending that Pillow chooses the format by.
ENDINGS = {
    ".gif": "GIF", ".jp2": "JPEG2000", ".avif": "AVIF", ".jfif": "JPEG", ".jpe": "JPEG", ".dib": "BMP", ".JPG": "JPEG",
    ".webp": "WEBP", ".pgm": "PPM", ".apng": "PNG", ".j2k": "JPEG2000", ".tif": "TIFF", "": "PNG", ".1": "JPEG",
    ".jpg_large": "JPEG", ".jpeg?width=640": "JPEG",
}  # fmt: skip


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Two classes of images with all sorts of names, and what else lies in people's folders."""
    root = tmp_path / "photos"
    for number, (ending, image_format) in enumerate(ENDINGS.items()):
        write_image(root / "ant" / f"{number}{ending}", number, (16, 16), image_format)
        write_image(root / "bee" / "2020" / "may" / f"{number}{ending}", number, (16, 16), image_format)
    Image.new("RGB", (16, 16)).save(root / "ant" / "x.dib", "DIB")  # without the header that a BMP file has
    (root / "ant" / "notes.txt").write_text("Pictures of ants. P5 is the best.")
    (root / "ant" / "Thumbs.db").write_bytes(bytes(range(256)))
    (root / "ant" / "readme").write_text("none")
    (root / "bee" / "raw.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (root / "bee" / "scan.pdf").write_bytes(b"%PDF-1.4")
    os.symlink("/no/such/photo.jpg", root / "bee" / "gone.jpg")
    os.symlink("itself.jpg", root / "bee" / "itself.jpg")
    os.mkfifo(root / "bee" / "pipe.jpg")
    for hidden in ("ant/.DS_Store", "ant/._1.jpg", ".Trash/ant/1.jpg", "__MACOSX/ant/1.jpg", "ant/@eaDir/1.jpg"):
        (root / hidden).parent.mkdir(parents=True, exist_ok=True)
        (root / hidden).write_bytes(b"not to be looked at")
    return root


LEFT_OUT = "left out, as no images that are read here: "


def test_images_are_taken_whatever_their_names_and_the_rest_is_counted_aloud(mixed, capsys):
    split = load_splits(str(mixed))["train"]
    expected = {(f"{number}{ending}", name) for number, ending in enumerate(ENDINGS) for name in ("ant", "bee")}
    assert len(split) == 2 * len(ENDINGS) + 1
    assert set(images_of(split)) == expected | {("x.dib", "ant")}
    for row in split:
        assert decode_image(encoded_bytes(row["image"])).shape == (3, 16, 16)
    said = capsys.readouterr().err
    (left_out,) = (line for line in said.splitlines() if LEFT_OUT in line)
    kinds, first = left_out.partition(LEFT_OUT)[2].split("; first ")
    assert kinds == "2 × broken link, 1 × .db, 1 × .heic, 1 × .pdf, 1 × .txt, …"
    assert first == str(mixed / "ant" / "Thumbs.db")
    assert f"{len(ENDINGS)} images further below, counted for the class folder" in said


def test_training_check_pack_predict_and_the_demo_take_the_same_files(mixed, tmp_path, capsys):
    files = sorted(find_images(mixed).paths)
    split = load_splits(str(mixed))["train"]
    assert sorted(row["image"]["path"] for row in split) == files
    recipe = Recipe(dataset_name=str(mixed), train_val_split=0.2, total_train_batch_size=1)
    assert sorted(row["path"] for part in load_train_and_validation(recipe) for row in part["image"]) == files
    assert sorted(row["path"] for row in load_evaluation_split(str(mixed))["image"]) == files
    capsys.readouterr()
    assert sorted(_paths(str(mixed))) == files
    assert LEFT_OUT in capsys.readouterr().err
    result = check_folder(mixed)
    assert len(result.tables[0].labels) == len(files)
    assert any(LEFT_OUT in note for note in result.notes)
    assert LEFT_OUT in capsys.readouterr().err
    pack(load_splits(str(mixed)), tmp_path / "packed", short_side=None)
    packed = load_splits(str(tmp_path / "packed"))["train"].cast_column("image", split.features["image"])
    assert sorted(images_of(packed)) == sorted(images_of(split))
    assert len(folder_examples(mixed)) == 12


def test_a_heif_file_that_could_be_avif_by_its_brand_is_no_image(tmp_path):
    (tmp_path / "a").write_bytes(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(100))
    assert not find_images(tmp_path).paths


def test_a_link_to_a_folder_is_followed_and_one_that_leads_back_is_not(tmp_path, capsys):
    for number in range(3):
        write_image(tmp_path / "disk" / f"{number}.png", number)
        write_image(tmp_path / "photos" / "bee" / f"{number}.png", number)
    os.symlink(tmp_path / "disk", tmp_path / "photos" / "ant")
    os.symlink(tmp_path / "photos", tmp_path / "photos" / "bee" / "up")
    split = load_splits(str(tmp_path / "photos"))["train"]
    names = split.features["label"].names
    assert [sum(name == each for _, each in images_of(split)) for name in names] == [3, 6]  # ants below bees, by `up`


def test_images_outside_of_class_folders_are_counted_aloud(image_folder, capsys):
    for place in ("train/1.png", "train/2.png", "title.jpg"):
        write_image(image_folder / place, 1)
    assert {name: len(split) for name, split in load_splits(str(image_folder)).items()} == {"train": 24, "val": 15}
    said = capsys.readouterr().err
    assert f"train: left out: 2 images outside of the class folders, first {image_folder / 'train' / '1.png'}" in said
    assert f"images: left out: 1 image outside of the class folders, first {image_folder / 'title.jpg'}" in said


def test_a_folder_of_what_is_no_image_says_what_there_is(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(
        UserError, match=r"2 class folders but no images in them \(there are 2 × .heic; first .*1.heic"
    ):
        load_splits(str(tmp_path / "photos"))
    write_image(tmp_path / "photos" / "ant" / "1.jpg", 1)
    with pytest.raises(UserError, match=r"no images in 1 of 2 class folders, first 'bee' \(there are 2 × \.heic"):
        load_splits(str(tmp_path / "photos"))


def test_a_folder_that_may_not_be_read_is_named(image_folder, monkeypatch):
    scandir = os.scandir

    def forbidden(folder):
        if str(folder).endswith("bee"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(UserError, match=r"cannot read the folder .*bee: Permission denied"):
        load_splits(str(image_folder))


# Names


def latin1(folder: Path, name: str) -> str:
    """A path whose name is in Latin-1, which is not UTF-8."""
    return os.fsdecode(os.fsencode(folder) + b"/" + name.encode("latin-1"))


def test_names_that_are_not_utf8_are_read_checked_packed_and_named_in_errors(image_folder, tmp_path, capsys):
    for split in ("train", "val"):
        os.rename(image_folder / split / "bee" / "1.jpg", latin1(image_folder / split / "bee", "é#%.jpg"))
        os.rename(image_folder / split / "cat", latin1(image_folder / split, "çat"))
    recipe = Recipe(dataset_name=str(image_folder), total_train_batch_size=1)
    train, validation = load_train_and_validation(recipe)
    assert train.features["label"].names == validation.features["label"].names == ["\\xe7at", "ant", "bee"]
    assert (len(train), len(validation)) == (24, 15)
    before = {
        encoded_bytes(row["image"]): row["label"] for split in (train, validation) for row in split
    }  # nothing is read twice: all are different
    assert len(before) == 39
    assert check_folder(image_folder).problems == []
    pack(load_splits(str(image_folder)), tmp_path / "packed", short_side=None)
    for split in load_splits(str(tmp_path / "packed")).values():
        assert split.features["label"].names == ["\\xe7at", "ant", "bee"]
        for row in split.cast_column("image", train.features["image"]):
            assert before[row["image"]["bytes"]] == row["label"]
    with open(latin1(image_folder / "train" / "bee", "é#%.jpg"), "wb") as file:
        file.write(b"damaged")
    (problem,) = check_folder(image_folder).problems
    assert "bee/%E9%23%25.jpg" in problem
    capsys.readouterr()
    assert os.fsencode(_paths(str(image_folder / "train" / "bee"))[-1]).endswith(b"/\xe9#%.jpg")


def test_a_data_set_whose_own_path_is_not_utf8_says_what_to_do(image_folder):
    path = latin1(image_folder.parent, "données")
    os.rename(image_folder, path)
    with pytest.raises(UserError, match=r"donn\\xe9es: the path of the data must be UTF-8 .*ln -s"):
        load_splits(path)


def test_names_that_look_alike_are_the_same_class(image_folder, tmp_path, capsys):
    (image_folder / "train" / "cat").rename(image_folder / "train" / "caf\u00e9")
    (image_folder / "val" / "cat").rename(image_folder / "val" / "cafe\u0301")
    recipe = Recipe(dataset_name=str(image_folder), total_train_batch_size=1)
    for split in load_train_and_validation(recipe):
        assert split.features["label"].names == ["ant", "bee", "caf\u00e9"]
    assert check_folder(image_folder).problems == []
    shutil.copytree(image_folder / "val" / "cafe\u0301", image_folder / "train" / "cafe\u0301")
    train, _ = load_train_and_validation(recipe)
    assert [sum(name == each for _, each in images_of(train)) for name in ("ant", "caf\u00e9")] == [8, 13]
    assert "2 folders look alike and differ in Unicode's form only: one class 'caf\u00e9'" in capsys.readouterr().err


# Splits or classes


def make(root: Path, *places: str) -> Path:
    """Two images in each of these folders."""
    for place in places:
        for number in range(2):
            write_image(root / place / f"{number}.png", number, (8, 8))
    return root


@pytest.mark.parametrize(
    ("places", "splits"),
    [
        (["bike", "car", "train"], {"train": ["bike", "car", "train"]}),
        (["bike", "test"], {"train": ["bike", "test"]}),
        (["cow", "dog", "test", "val"], {"train": ["cow", "dog", "test", "val"]}),
        (["bike/2020", "car/2021", "train"], {"train": ["bike", "car", "train"]}),
        (["train/bike", "train/train", "val/bike", "val/train"],
         {"train": ["bike", "train"], "val": ["bike", "train"]}),
        (["train/a", "train/b", "val/a", "val/b", "pictures"], {"train": ["a", "b"], "val": ["a", "b"]}),
        (["train/a", "train/b", "test"], {"train": ["a", "b"]}),
        (["Train/a", "Train/b", "VAL/a", "VAL/b"], {"train": ["a", "b"], "val": ["a", "b"]}),
        (["Training/a", "Training/b", "Testing/a", "Testing/b"], {"train": ["a", "b"], "test": ["a", "b"]}),
        (["train/a", "train/b"], {"train": ["a", "b"]}),
    ],
)  # fmt: skip
def test_a_folder_called_train_is_a_split_or_a_class_by_what_lies_in_it(places, splits, tmp_path, capsys):
    found = load_splits(str(make(tmp_path / "data", *places)))
    assert {name: split.features["label"].names for name, split in found.items()} == splits
    said = capsys.readouterr().err
    are_classes = splits == {"train": [place.split("/")[0] for place in places]}
    assert ("they are classes here, not splits" in said) is are_classes
    assert ("left out: 'pictures', which are no splits" in said) is ("pictures" in places)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["train/steam", "train/diesel", "bike", "car"], r"has 'train', as splits are called, .* 'bike', 'car' with"),
        (["train/a", "train/b", "extra/a", "extra/b"], r"give .*data/train for the classes in 'train' alone"),
        (["train", "test", "sample"], "as splits are called, and beside them 'sample' with images"),
        (["train", "test"], "train has no class folders: images must lie in"),  # a contest's, labels in the names
        (["train/a", "train/b", "val"], "val has no class folders"),
        (["Train/a", "train/a"], "'Train' and 'train' are one split by their names"),
    ],
)
def test_what_could_be_either_is_an_error_that_says_how_it_was_understood(places, message, tmp_path):
    with pytest.raises(UserError, match=message):
        load_splits(str(make(tmp_path / "data", *places)))
