"""Labels that are not folders: CSV, JSON lines, metadata beside images, lists of the files of each split."""

import json
from pathlib import Path

import datasets
import pytest
from shared import write_image
from test_folders import images_of
from timm.data import ImageNetInfo

from modeling_resnet50.data.sources import load_evaluation_split, load_splits, load_train_and_validation
from modeling_resnet50.data.streaming import open_streamed_split
from modeling_resnet50.data.tables import Columns, Row, _refuse_several_labels
from modeling_resnet50.prepare.check import check_folder
from modeling_resnet50.prepare.pack import pack
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


TRUTH = {
    "train": [("1.jpg", "ant"), ("2.jpg", "ant"), ("3.jpg", "red bee"), ("4.jpg", "red bee")],
    "validation": [("5.jpg", "ant"), ("6.jpg", "red bee")],
}
ROWS = [(name, label, split) for split, rows in TRUTH.items() for name, label in rows]


@pytest.fixture
def photos(tmp_path) -> Path:
    """Six images in one heap."""
    for number in range(1, 7):
        write_image(tmp_path / "photos" / f"{number}.jpg", number, (16, 16))
    return tmp_path / "photos"


def in_folders(root: Path, by: str) -> None:
    """Move the heap into folders of the splits, the classes, or both."""
    for name, label, split in ROWS:
        place = root / by.format(label=label, split=split)
        place.mkdir(parents=True, exist_ok=True)
        (root / name).rename(place / name)


def csv_of(rows, delimiter=",", names=("file_name", "label", "split")) -> str:
    return "".join(delimiter.join(row) + "\n" for row in [names, *rows])


def json_lines(rows, names=("file_name", "label", "split")) -> str:
    return "".join(json.dumps(dict(zip(names, row))) + "\n" for row in rows)


def write_csv(root: Path) -> Path:
    (root / "labels.csv").write_text(csv_of(ROWS))
    return root / "labels.csv"


def write_excels_csv(root: Path) -> Path:
    text = csv_of([(rf"sub\{name}", label, split) for name, label, split in ROWS], ";", ("File", "Class", "Split"))
    in_folders(root, "sub")
    (root / "labels.csv").write_text(text.replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    return root / "labels.csv"


def write_tsv(root: Path) -> Path:
    (root / "labels.tsv").write_text(csv_of(ROWS, "\t"))
    return root / "labels.tsv"


def write_json_lines(root: Path) -> Path:
    (root / "labels.jsonl").write_text(json_lines(ROWS))
    return root / "labels.jsonl"


def write_metadata(root: Path) -> Path:
    (root / "metadata.jsonl").write_text(json_lines(ROWS))
    return root


def write_metadata_of_split_folders(root: Path) -> Path:
    in_folders(root, "{split}")
    (root / "metadata.csv").write_text(
        csv_of([(f"{s}/{name}", label) for name, label, s in ROWS]).replace(",split", "")
    )
    return root


def write_metadata_in_split_folders(root: Path) -> Path:
    in_folders(root, "{split}")
    for split, rows in TRUTH.items():
        (root / split / "metadata.csv").write_text(csv_of(rows, names=("file_name", "label")))
    return root


def write_lists_of_class_folders(root: Path) -> Path:
    in_folders(root, "{label}")
    for split, rows in TRUTH.items():
        (root / f"{split}.txt").write_text("\n".join(f"{label}/{name}" for name, label in rows))
    return root


def write_lists_with_labels(root: Path) -> Path:
    in_folders(root, "some images")
    for split, rows in TRUTH.items():
        lines = [f"some images/{name} {label.removeprefix('red ')}" for name, label in rows]
        (root / f"{split}.txt").write_text("\n".join(lines).replace("bee", "bee"))
    return root / "train.txt"


def write_a_table_for_each_split_beside_its_heap(root: Path) -> Path:
    in_folders(root, "{split}")
    for split, rows in TRUTH.items():
        (root / f"{split}.csv").write_text(csv_of(rows, names=("image", "category")))
    return root


@pytest.mark.parametrize(
    "write",
    [
        write_csv, write_excels_csv, write_tsv, write_json_lines, write_metadata, write_metadata_of_split_folders,
        write_metadata_in_split_folders, write_lists_of_class_folders, write_lists_with_labels,
        write_a_table_for_each_split_beside_its_heap,
    ],
)  # fmt: skip
def test_each_kind_of_table_gives_the_same_splits_images_and_classes(photos, write):
    splits = load_splits(str(write(photos)))
    found = {name: images_of(split) for name, split in splits.items()}
    if write is write_lists_with_labels:  # where a label is one word
        found = {split: [(n, label.replace("bee", "red bee")) for n, label in rows] for split, rows in found.items()}
    assert found == TRUTH
    assert list(splits) == ["train", "validation"]


def test_metadata_is_read_as_datasets_reads_it(photos):
    root = write_metadata_in_split_folders(photos)
    theirs = datasets.load_dataset("imagefolder", data_dir=str(root), cache_dir=str(photos.parent / "cache"))
    theirs = theirs.cast_column("image", datasets.Image(decode=False))
    for split, rows in load_splits(str(root)).items():
        names = rows.features["label"].names
        ours = sorted((Path(row["image"]["path"]).name, names[row["label"]]) for row in rows)
        assert ours == sorted((Path(row["image"]["path"]).name, row["label"]) for row in theirs[split])


def table(root: Path, *lines: str) -> str:
    (root / "labels.csv").write_text("file_name,label,split\n" + "".join(f"{line}\n" for line in lines))
    return str(root / "labels.csv")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["1.jpg,ant,train", "no.jpg,ant,train", "x/2.jpg,bee,train"],
            r"2 files not there, .*csv, lines 3, 4: no.jpg",
        ),
        (["1.jpg,ant,train", "2.jpg,,train"], r"1 file without a label, .*csv, line 3: 2.jpg"),
        (["1.jpg,0,train", "2.jpg,-1,train"], r"1 file without a label, .*csv, line 3: 2.jpg"),
        (
            ["1.jpg,ant,train", "./1.jpg,bee,train"],
            r"1.jpg is 'ant' in train .*line 2\) and 'bee' in train .*line 3\)",
        ),
        (["1.jpg,ant,train", "1.jpg,ant,val"], r"1.jpg is 'ant' in train .*line 2\) and 'ant' in val .*line 3\)"),
        (["1.jpg,ant,train", "2.jpg,bee,val"], r"1 file with a label that no training .*line 3: 2.jpg .*has: ant\)"),
        (["1.jpg,ant,train", "2.jpg,bee,holdout"], r"line 3: 'holdout' is no split; splits are: train, val"),
        (["1.jpg,ant,train", "2.jpg"], r"line 3: not as many fields as the first line names"),
        (["1.jpg,ant,train", "2.jpg,a,b,train"], r"line 3: not as many fields as the first line names"),
        (['1.jpg,"ant,train'], r"line 2: unexpected end of data"),
        ([",ant,train"], r"line 2: no name of a file in column 'file_name'"),
        ([], r"labels.csv has no rows"),
    ],
)
def test_what_is_wrong_in_a_table_is_named_with_its_line(photos, lines, message):
    with pytest.raises(UserError, match=message):
        load_splits(table(photos, *lines))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"1.jpg,ant\n2.jpg,bee\n", r"0 columns of files among 1.jpg, ant: .*The first line of a CSV names"),
        ("a.csv", b"file,label,label\n1.jpg,ant,bee\n", r"a.csv: column 'label' is there 2 times: keep one"),
        ("a.jsonl", b'{"file": "1.jpg", "label": "ant", "label": "bee"}', r"line 1: key 'label' is there 2 times"),
        (
            "a.csv",
            b"file,ant,bee\n1.jpg,1,0\n2.jpg,0,1\n",
            r"without a label, .* \(they are read from the column label",
        ),
        ("a.csv", b"file,path,label\n1.jpg,1.jpg,ant\n", r"2 columns of files among file, path, label"),
        ("a.csv", b"file,class,label\n1.jpg,1,ant\n", r"2 columns of labels, class, label: choose by --label_column"),
        ("a.csv", "file,label\n1.jpg,ant\n2.jpg,käfer\n".encode("latin-1"), r"line 3: not UTF-8"),
        ("a.jsonl", b'{"file": "1.jpg", "label": "ant"}\n\n{"file": \n', r"line 3: not JSON"),
        ("a.jsonl", b'["1.jpg", "ant"]\n', r"line 1: not a JSON object"),
        ("a.jsonl", b'{"file": "1.jpg", "label": ["ant", "bee"]}', r"line 1: the label must be the name .* one class"),
        ("a.jsonl", b'{"file": "1.jpg", "label": true}', r"line 1: the label must be the name .*, not true"),
        ("a.txt", b"1.jpg ant\n2.jpg bee\n9.jpg bee\n", r"1 file not there, .*a.txt, line 3: 9.jpg"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused(photos, name, content, message):
    (photos / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_splits(str(photos / name))


def test_names_that_pandas_takes_for_something_else_stay_and_numbers_are_in_their_order(photos):
    words = load_splits(table(photos, "1.jpg,None,train", "2.jpg,NA,train", "3.jpg,007,train", "4.jpg,nan,train"))
    assert words["train"].features["label"].names == ["007", "NA", "None", "nan"]
    numbers = load_splits(table(photos, "1.jpg,10,train", "2.jpg,9,train", "3.jpg,-2,train"))
    assert numbers["train"].features["label"].names == ["-2", "9", "10"]


@pytest.mark.parametrize("sign", [";", "|", ","])
def test_several_labels_in_one_field_are_no_class(photos, sign):
    """Where the parts are labels themselves, or of other such fields; names with a comma stay names."""
    for labels in (["ant", "bee", f"bee{sign}ant"], [f"ant{sign}bee", f"bee {sign} cat", f"cat{sign}ant"]):
        rows = [(f"{number}.jpg", label, "train") for number, label in enumerate(labels, 1)]
        (photos / "labels.tsv").write_text(csv_of(rows, "\t"))
        line = 2 + next(number for number, label in enumerate(labels) if sign in label)
        with pytest.raises(UserError, match=f"line {line}: .* is several labels, .* an image has one class here"):
            load_splits(str(photos / "labels.tsv"))
    rows = [("1.jpg", f"ant{sign} a small one", "train"), ("2.jpg", "ant", "train"), ("3.jpg", "bee", "train")]
    (photos / "labels.tsv").write_text(csv_of(rows, "\t"))
    assert load_splits(str(photos / "labels.tsv"))["train"].features["label"].num_classes == 3


def test_no_name_of_imagenets_is_several_labels():
    lemmas = ImageNetInfo().label_descriptions(detailed=True)
    rows = [Row(Path("x"), 2, "x", "x", name.partition(": ")[0], "train") for name in lemmas]
    assert any("," in str(row.label) for row in rows)
    _refuse_several_labels(rows)


def notes_of(source: str) -> str:
    said: list[str] = []
    load_splits(source, note=said.append)
    return "\n".join(said)


def test_what_a_table_leaves_out_is_said_with_its_line(photos):
    rows = ["1.jpg,ant,train", "2.jpg,bee,train", "2.jpg,bee,train", "3.jpg,Ant,train", "4.jpg,,test"]
    said = notes_of(table(photos, *rows))
    assert "1 row repeats another one and counts once" in said
    assert "labels.csv, line 4" in said
    assert "'Ant', 'ant' differ in case only, and are classes of their own" in said
    assert "left out: the split 'test', which has no labels" in said
    splits = load_splits(table(photos, *rows))
    assert images_of(splits["train"]) == [("1.jpg", "ant"), ("2.jpg", "bee"), ("3.jpg", "Ant")]
    assert list(splits) == ["train"]


def test_a_test_split_by_folder_without_labels_is_left_out(photos):
    in_folders(photos, "{split}")
    (photos / "validation").rename(photos / "test")
    rows = [(f"train/{name}", label) for name, label in TRUTH["train"]] + [("test/5.jpg", ""), ("test/6.jpg", "")]
    (photos / "labels.csv").write_text(csv_of(rows, names=("file_name", "label")))
    assert "left out: the split 'test', which has no labels" in notes_of(str(photos / "labels.csv"))
    splits = load_splits(str(photos / "labels.csv"))
    assert {name: images_of(split) for name, split in splits.items()} == {"train": TRUTH["train"]}


def test_metadata_that_lacks_images_or_labels_says_so(photos):
    (photos / "metadata.csv").write_text(csv_of(ROWS[:5]))
    assert "1 image that metadata.csv does not name, first" in notes_of(str(photos))
    (photos / "metadata.csv").write_text(csv_of([(row[0], "a photo") for row in ROWS], names=("file_name", "text")))
    in_folders(photos, "{label}")
    assert "metadata.csv has no column of labels: the folders are the classes" in notes_of(str(photos))
    assert load_splits(str(photos))["train"].features["label"].names == ["ant", "red bee"]


def test_class_folders_of_splits_stay_the_classes_whatever_lists_lie_beside_them(photos):
    in_folders(photos, "{split}/{label}")
    (photos / "train.txt").write_text("a note")
    assert {name: images_of(split) for name, split in load_splits(str(photos)).items()} == TRUTH


def test_what_takes_a_folder_takes_a_table(photos, tmp_path):
    names = ("who", "what", "label", "file")
    path = photos / "labels.csv"
    path.write_text(csv_of([("a", label, split, name) for name, label, split in ROWS], names=names))
    columns = {"image_column_name": "file", "label_column_name": "what"}
    train, held_out = load_train_and_validation(Recipe(dataset_name=str(path), train_val_split=0.4, **columns))
    assert (len(train), len(held_out)) == (4, 2)
    assert train.features["label"].names == ["ant", "red bee"]
    assert len(load_evaluation_split(str(path), image_column="file", label_column="what")) == 6
    result = check_folder(path, columns=Columns("file", "what"))
    assert not result.problems
    assert {table.name: table.per_class.tolist() for table in result.tables} == {"train": [3, 3]}
    pack(load_splits(str(path), columns=Columns("file", "what")), tmp_path / "packed", short_side=None)
    packed = load_splits(str(tmp_path / "packed"))
    assert {name: len(split) for name, split in packed.items()} == {"train": 6}
    with pytest.raises(UserError, match="not in parquet shards"):
        open_streamed_split(str(path), ["train"])
