"""Image folders as people have them, and ImageNet's classes in words."""

from pathlib import Path

import pytest
from synthetic_imagenet import TRAIN_PER_CLASS, WNIDS, make_kaggle
from timm.data import ImageNetInfo

from modeling_resnet50.data.class_names import imagenet_words
from modeling_resnet50.data.sources import load_evaluation_split, load_splits
from modeling_resnet50.errors import UserError


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
