"""`max_train_samples` and `max_eval_samples`: a part of the images, the same one for the same seed."""

import numpy as np
import pytest
from shared import write_image_folder, write_shards

from modeling_resnet50.data.sampling import sample_rows
from modeling_resnet50.data.sources import load_train_and_validation, open_streamed_train_and_validation
from modeling_resnet50.plan import data_size_of
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("fewer") / "images")  # 3 classes, 8 and 5 of each


@pytest.mark.parametrize(
    ("counts", "number", "expected"),
    [
        ([60, 30, 10], 10, [6, 3, 1]),
        ([60, 30, 10], 50, [30, 15, 5]),
        ([98, 1, 1], 3, [1, 1, 1]),  # one of each, before anything else
        ([5, 0, 5], 4, [2, 0, 2]),
        ([3, 3], 6, [3, 3]),
    ],
)
def test_classes_have_their_shares_and_at_least_one_image(counts, number, expected):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = sample_rows(labels, number, seed=1)
    assert np.bincount(labels[rows], minlength=len(counts)).tolist() == expected
    assert rows.tolist() == sorted(set(rows.tolist()))


def test_the_part_is_that_of_the_seed():
    labels = np.repeat(np.arange(3), 100)
    first, again, other = (sample_rows(labels, 30, seed).tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_training_and_validation_are_cut_each_by_its_own_field(folder):
    train, validation = load_train_and_validation(
        Recipe(dataset_name=str(folder), max_train_samples=6, max_eval_samples=1000)
    )
    assert np.bincount(train["label"][:]).tolist() == [2, 2, 2]
    assert len(validation) == 15
    with pytest.raises(UserError, match="max_eval_samples 2 is less than one image for each of 3 classes"):
        load_train_and_validation(Recipe(dataset_name=str(folder), max_eval_samples=2))


def test_what_is_held_out_is_held_out_of_all_images_before_fewer_are_taken(folder):
    everything = Recipe(dataset_name=str(folder), train_val_split=0.25)
    _, whole = load_train_and_validation(everything)
    train, held_out = load_train_and_validation(
        Recipe(dataset_name=str(folder), train_val_split=0.25, max_train_samples=3)
    )
    assert held_out["image"][:] == whole["image"][:]
    assert len(train) == 3


def test_a_stream_gives_whole_row_groups_and_a_part_of_the_last(folder, tmp_path):
    shards = write_shards(folder, tmp_path / "shards")  # row groups of 8 and of 5
    recipe = Recipe(dataset_name=str(shards), streaming=True, max_train_samples=11, max_eval_samples=5)
    train, validation = open_streamed_train_and_validation(recipe)
    whole, _ = open_streamed_train_and_validation(Recipe(dataset_name=str(shards), streaming=True))
    assert (len(train), sorted(train.row_group_sizes.tolist())) == (11, [3, 8])
    assert validation.row_group_sizes.tolist() == [5]
    assert train.taken is not None
    assert train.classes_of_rows().tolist() == [
        label for number in range(len(train.taken)) for label in train.read_row_group(number)[1].tolist()
    ]
    for number, (group, rows) in enumerate(train.taken.items()):
        images, labels = train.read_row_group(number)
        all_images, all_labels = whole.read_row_group(group)
        assert images == all_images[:rows]
        assert labels.tolist() == all_labels[:rows].tolist()


def test_a_plan_for_known_data_counts_what_is_taken():
    size = data_size_of(Recipe(max_train_samples=100_000, max_eval_samples=5_000))
    assert size is not None
    assert (size.train_images, size.validation_images, size.labels) == (100_000, 5_000, 1000)
