"""Where nobody has named the classes, the values that occur are the classes: whole, streamed and packed."""

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, load_dataset
from shared import write_image

from modeling_resnet50.commands.evaluation_data import class_map_of
from modeling_resnet50.data.loader import ImageBatches
from modeling_resnet50.data.sources import (
    load_evaluation_split,
    load_splits,
    load_train_and_validation,
    open_streamed_train_and_validation,
)
from modeling_resnet50.data.streaming import StreamedEvaluationSampler, StreamedImageBatches, open_streamed_split
from modeling_resnet50.data.transforms import ImageTransform
from modeling_resnet50.prepare.check import check_folder
from modeling_resnet50.prepare.pack import pack
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("picture") / "1.png"
    write_image(path, 1, (8, 8), "PNG")
    return path.read_bytes()


@pytest.fixture
def folder_of(tmp_path, picture):
    """Makes a folder of parquet files, row groups of three, each image with its label in its file's name."""

    def make(kind: pa.DataType | None = None, **splits: list):
        folder = tmp_path / "data"
        folder.mkdir()
        for name, labels in splits.items():
            images = [{"bytes": picture, "path": f"{label}.png"} for label in labels]
            table = pa.table({"image": pa.array(images), "label": pa.array(labels, type=kind)})
            features = datasets.Features(
                {**datasets.Features.from_arrow_schema(table.schema), "image": datasets.Image()}
            )
            table = table.replace_schema_metadata(features.arrow_schema.metadata)
            pq.write_table(table, folder / f"{name}.parquet", row_group_size=3)
        return folder

    return make


def seen_whole(dataset) -> list[tuple[str, str]]:
    names = dataset.features["label"].names
    return [(image["path"], names[label]) for image, label in zip(dataset["image"][:], dataset["label"][:])]


def seen_streamed(split) -> list[tuple[str, str]]:
    rows = []
    for number in range(len(split.row_groups)):
        images, labels = split.read_row_group(number)
        rows += [(image["path"], split.label_names[label]) for image, label in zip(images, labels)]
    return rows


@pytest.mark.parametrize(
    ("kind", "train", "validation", "names"),
    [
        (pa.int64(), [4_000_000_123, 7, 7, 4_000_000_123, 90], [90, 7, 4_000_000_123], ["7", "90", "4000000123"]),
        (pa.int32(), [3, 1, 2, 3, 1], [1, 2, 3], ["1", "2", "3"]),
        (pa.uint16(), [500, 10, 10, 500], [10, 500], ["10", "500"]),
        (pa.int64(), [2, 10, 1, 2], [10, 2, 1], ["1", "2", "10"]),  # as numbers, not as words
        (pa.int8(), [-1, 1, 1, -1], [1, -1], ["-1", "1"]),
        (pa.bool_(), [True, False, True], [False, True], ["False", "True"]),
        (pa.string(), ["cat", "ant", "cat"], ["ant", "cat"], ["ant", "cat"]),
        (pa.int64(), [1, 2, 3, 3], [3, 1], ["1", "2", "3"]),  # a class that validation happens to lack
    ],
)
def test_the_values_are_the_classes(kind, train, validation, names, folder_of, tmp_path):
    folder = folder_of(kind, train=train, validation=validation)
    recipe = Recipe(dataset_name=str(folder), total_train_batch_size=1)
    expected = [[(f"{label}.png", str(label)) for label in labels] for labels in (train, validation)]
    whole = load_train_and_validation(recipe)
    assert [split.features["label"].names for split in whole] == [names, names]
    assert [seen_whole(split) for split in whole] == expected
    streamed = open_streamed_train_and_validation(recipe)
    assert [split.label_names for split in streamed] == [names, names]
    assert [seen_streamed(split) for split in streamed] == expected
    pack(load_splits(str(folder)), tmp_path / "packed", short_side=None)
    packed = load_train_and_validation(Recipe(dataset_name=str(tmp_path / "packed"), total_train_batch_size=1))
    assert [split.features["label"].names for split in packed] == [names, names]
    assert [sorted(seen_whole(split)) for split in packed] == [sorted(rows) for rows in expected]
    opened = load_dataset(
        str(tmp_path / "packed"), cache_dir=str(tmp_path / "cache")
    )  # by whoever has not this library
    assert opened["validation"].features["label"].names == names
    assert [names[label] for label in opened["validation"]["label"]] == [str(label) for label in validation]
    result = check_folder(folder)
    assert [len(table.class_names) for table in result.tables] == [len(names)] * 2
    assert seen_whole(load_evaluation_split(str(folder))) == expected[1]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        (pa.int64(), [3, 4, None, 5, None], "column 'label': 2 images have no label, first row 2"),
        (pa.string(), ["a", "b", "b", " "], "column 'label': 1 image has no label, first row 3"),
        (pa.int64(), [0, 1, 2, 3, -1], "1 image has no label, first row 4"),
        (pa.int64(), [-1, -1], "2 images have no label, first row 0"),
        (pa.float64(), [1.0, 2.0], "column 'label' must hold class numbers or names, not double"),
        (pa.list_(pa.int64()), [[1], [2]], "not list.*: an image has one class here"),
    ],
)
def test_a_row_without_a_class_is_named_before_anything_begins(kind, labels, message, streaming, folder_of):
    recipe = Recipe(dataset_name=str(folder_of(kind, train=labels, validation=labels)), total_train_batch_size=1)
    with pytest.raises(UserError, match=message) as error:
        (open_streamed_train_and_validation if streaming else load_train_and_validation)(recipe)
    assert str(error.value).startswith("train")


def test_a_row_without_a_class_is_named_where_classes_are_named_too(folder_of):
    folder = folder_of(pa.int64(), train=[0, 1, None, 1])
    table = pq.read_table(folder / "train.parquet")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])})
    table = table.replace_schema_metadata(features.arrow_schema.metadata)
    pq.write_table(table, folder / "train.parquet", row_group_size=2)
    with pytest.raises(UserError, match="train: 1 image has no label, first row 2"):
        load_evaluation_split(str(folder))
    assert "train: 1 image has no label" in check_folder(folder).problems
    recipe = Recipe(dataset_name=str(folder), validation_split_name="train", total_train_batch_size=1)
    split, _ = open_streamed_train_and_validation(recipe)
    batches = StreamedImageBatches(split, ImageTransform())
    _, last = StreamedEvaluationSampler(split.row_group_sizes, 2)
    error = batches.__getitems__(last)
    assert isinstance(error, UserError)
    assert "first in row 2" in str(error)


def test_a_split_without_labels_is_a_problem_and_no_class(folder_of, tmp_path):
    folder = folder_of(train=[1, 2, 3], validation=[2, 1, 3], test=[-1, -1])
    result = check_folder(folder)
    assert [table.class_names for table in result.tables] == [["1", "2", "3"]] * 3
    assert "test: 2 images have no label" in result.problems
    pack(load_splits(str(folder)), tmp_path / "packed", short_side=None)
    recipe = Recipe(dataset_name=str(tmp_path / "packed"), total_train_batch_size=1)
    assert sorted(seen_whole(load_train_and_validation(recipe)[0])) == [(f"{n}.png", str(n)) for n in (1, 2, 3)]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_row_without_an_image_is_named_when_it_is_met(streaming, folder_of, tmp_path):
    folder = folder_of(train=[1, 2, 3])
    table = pq.read_table(folder / "train.parquet")
    images = pa.array([*table["image"].to_pylist()[:1], None, None], type=table.schema.field("image").type)
    pq.write_table(table.set_column(0, table.schema.field("image"), images), folder / "train.parquet")
    recipe = Recipe(dataset_name=str(folder), validation_split_name="train", total_train_batch_size=1)
    if streaming:
        split, _ = open_streamed_train_and_validation(recipe)
        (batch,) = StreamedEvaluationSampler(split.row_group_sizes, 3)
        error = StreamedImageBatches(split, ImageTransform()).__getitems__(batch)
    else:
        error = ImageBatches(load_train_and_validation(recipe)[0], ImageTransform()).__getitems__([(0, 0), (0, 1)])
    assert isinstance(error, UserError)
    assert str(error) == "unreadable image: row 1: there is no image in the row"
    (problem,) = check_folder(folder).problems
    assert problem == "train: 2 unreadable images, first row 1: there is no image in the row"
    with pytest.raises(UserError, match="there is no image in the row"):
        pack(load_splits(str(folder)), tmp_path / "packed")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_class_that_only_validation_has_is_named(streaming, folder_of):
    recipe = Recipe(dataset_name=str(folder_of(train=[1, 2, 3], validation=[1, 7])), total_train_batch_size=1)
    with pytest.raises(UserError, match="different classes: 2 missing from validation, first '2'"):
        (open_streamed_train_and_validation if streaming else load_train_and_validation)(recipe)


def test_words_that_look_alike_are_one_class(folder_of):
    folder = folder_of(train=["café", "cafe\u0301", "bar"], validation=["cafe\u0301", "bar"])
    recipe = Recipe(dataset_name=str(folder), total_train_batch_size=1)
    for load in (load_train_and_validation, open_streamed_train_and_validation):
        assert [split.features["label"].names for split in load(recipe)] == [["bar", "café"]] * 2
    assert load_train_and_validation(recipe)[0]["label"][:] == [1, 1, 0]


def test_numbers_of_some_of_a_models_classes_are_those_classes():
    class_map, names = class_map_of(["ant", "bee", "cat", "dog"], ["0", "3"])
    assert class_map.tolist() == [0, 3]
    assert names == ["ant", "bee", "cat", "dog"]
    class_map, _ = class_map_of(["7", "90"], ["90"])  # names, which these are, come first
    assert class_map.tolist() == [1]
    class_map, _ = class_map_of(["bar", "cafe\u0301"], ["café"])
    assert class_map.tolist() == [1]


def test_memory_grows_with_the_classes_not_with_their_numbers(folder_of):
    """Ids of eight digits: a name for each number below them would fill the memory."""
    folder = folder_of(pa.int64(), train=[2**62, 5], validation=[5, 2**62])
    train, _ = load_train_and_validation(Recipe(dataset_name=str(folder), total_train_batch_size=1))
    assert train.features["label"].names == ["5", str(2**62)]
    assert np.array(train["label"][:]).tolist() == [1, 0]


@pytest.mark.parametrize("read", [load_splits, lambda folder: open_streamed_split(folder, ["train"])])
def test_files_of_a_split_that_number_their_classes_differently_are_refused(picture, tmp_path, read):
    """`datasets` reads the second one's cats as dogs, without a word."""
    for number, names in enumerate((["cat", "dog"], ["dog", "cat"])):
        rows = Dataset.from_dict(
            {"image": [{"bytes": picture, "path": None}] * 4, "label": ["cat", "cat", "dog", "dog"]}
        )
        rows = rows.cast_column("image", datasets.Image()).cast_column("label", ClassLabel(names=names))
        rows.to_parquet(tmp_path / f"train-{number:05}-of-00002.parquet")
    with pytest.raises(UserError, match=r"train-00001.*numbers the classes of 'label' otherwise than .*train-00000"):
        read(str(tmp_path))
